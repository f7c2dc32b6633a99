"""A single flight whose jobs end when a test ends them."""

import threading
import time

from app.cache.singleflight import SingleFlight
from app.concurrency.peer import never_left
from app.domain import NO_FLOW, Vectors
from app.errors import ClientError
from tests.support.server import eventually

SOURCE = ("p", "m")
HANGS_S = 20  # seconds after which a thread hangs


class FakeJob:
    """A job that ends when the test ends it."""

    def __init__(self, flights, keys, deadline, wake, on_part):
        self.keys, self.deadline, self.wake, self.on_part = list(keys), deadline, wake, on_part
        self.error, self.is_settled, self.is_cancelled = None, False, False
        self.wants, self.kept, self.stops = [], None, ()
        self.attempts, self.upstream_seconds, self.queue_seconds = 1, 0.25, 0.125

    def extend(self, deadline, positions=None):
        self.deadline = max(self.deadline, deadline)

    def advance(self, now):
        return float("inf") if self.is_settled else self.deadline

    def start_first(self, positions, flow):
        self.wants.append(([self.keys[position] for position in positions], flow.tier))

    def keep_only(self, positions, now):
        self.kept = [self.keys[position] for position in positions]
        return self.stops

    def cancel(self, now):
        self.is_cancelled = self.is_settled = True

    def publish(self, start=0, stop=None):
        """Publish vectors, of one token each."""
        stop = len(self.keys) if stop is None else stop
        rows = [key * 4 for key in self.keys[start:stop]]
        self.on_part(start, stop, Vectors(rows, [1] * len(rows)), SOURCE)

    def end(self, error=None):
        self.error, self.is_settled = error, True
        self.wake()


class Flights:
    """A single flight, its jobs and its cache; each `fetch` is a thread."""

    def __init__(self):
        self.flights, self.jobs, self.stored = SingleFlight(), [], {}
        self.fail_start, self.flow, self.charged = None, NO_FLOW, []
        self.at_start = lambda job: None  # called with each job
        self.started = threading.Semaphore(0)

    def make_job(self, keys, deadline, wake, on_part):
        if self.fail_start is not None:
            raise self.fail_start
        job = FakeJob(self.flights, keys, deadline, wake, on_part)
        self.at_start(job)
        self.jobs.append(job)
        self.started.release()
        return job

    def verify(self, pairs):
        """Accepts all vectors."""

    def store(self, pairs):
        self.stored.update(pairs)

    def charge_later(self, source, tokens):
        self.charged.append((source, tokens))

    def fetch(self, *keys, seconds=60.0, has_left=never_left):
        return Fetch(self, keys, seconds, has_left)

    def job(self):
        """Return the next job that is started."""
        assert self.started.acquire(timeout=HANGS_S)
        return self.jobs[-1]

    def wait_for_waiters(self, key, number):
        eventually(lambda: len(self.flights._loads[key].waiters) >= number, HANGS_S)

    def assert_nothing_left(self):
        assert self.flights._loads == {}


class Fetch:
    def __init__(self, flights, keys, seconds, has_left):
        self.result = None
        arguments = flights, keys, seconds, has_left
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def _run(self, flights, keys, seconds, has_left):
        deadline = time.monotonic() + seconds
        try:
            self.result = flights.flights.fetch(keys, deadline, seconds, flights, has_left)
        except ClientError as error:
            self.result = error

    def join(self):
        self._thread.join(HANGS_S)
        assert not self._thread.is_alive()
        return self.result
