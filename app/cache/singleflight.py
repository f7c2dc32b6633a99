"""Single flight: an item that is being embedded for one request is not sent again for another.

A request claims the items that it misses. Items that no load embeds yet become a `Load` of this
request; it waits for the loads of the other items. A load publishes item by item, to the cache and
to all waiters, so that a request for one text never waits for the whole of another request.

A load has no thread of its own: the callers that wait for its items drive its job, and it ends when
the last of them leaves. When a load fails, its published items stay valid; its waiters claim the
other items again, and after a second failure each embeds them in a load that it does not share.
(Source of the idea: golang.org/x/sync/singleflight.)

It covers one process only: `app.cache.shared` says why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from app.cache.load import Collected, Embedding, Load, Published, Waiter
from app.concurrency.locks import uncontended_lock
from app.concurrency.wakeup import Wakeup
from app.domain import Entry, Source, Vectors
from app.errors import ClientError, DeadlineExceeded

#: Loads of other requests that may fail for an item, before a caller embeds it in an unshared load.
_MAX_SHARED_FAILURES = 2


class SingleFlight:
    """The loads under way. The lock guards ``_loads`` and the loads; nothing waits under it."""

    def __init__(self) -> None:
        self._loads: dict[bytes, Load] = {}
        self._lock = uncontended_lock()

    def fetch(
        self, keys: Sequence[bytes], deadline: float, timeout: float, embedding: Embedding
    ) -> Collected:
        """Return the entries of distinct keys.

        Raises the `ClientError` of the request's own load, or `DeadlineExceeded`, which names the
        ``timeout``. The error holds the attempts and purchases until then.
        """
        fetch = _Fetch(self, embedding, deadline, timeout)
        try:
            fetch.run(keys)
        except ClientError as error:
            error.attempts, error.purchases = fetch.collected.attempts, fetch.collected.purchases
            raise
        return fetch.collected

    def claim(self, keys: Sequence[bytes], deadline: float, wakeup: Wakeup) -> list[Waiter]:
        """Join the loads under way of these keys, and make one load of the other keys, if any.

        Returns a waiter for each load. The caller must give the new load, which is the last, a job;
        and every waiter must `leave`.
        """
        with self._lock:
            joined: dict[int, tuple[Load, list[bytes]]] = {}
            own = []
            for key in keys:
                load = self._loads.get(key)
                if load is None:
                    own.append(key)
                else:
                    joined.setdefault(id(load), (load, []))[1].append(key)
            waiters = []
            for load, wanted in joined.values():
                waiters.append(load.add_waiter(wakeup, wanted))
                load.deadline = max(load.deadline, deadline)
            if own:
                waiters.append(self.make_unshared(own, deadline, wakeup))
                self._loads.update(dict.fromkeys(own, waiters[-1].load))
        for waiter in waiters:
            if waiter.load.job is not None:
                waiter.load.job.extend(deadline)
        return waiters

    @staticmethod
    def make_unshared(keys: Sequence[bytes], deadline: float, wakeup: Wakeup) -> Waiter:
        """Make a load that no other request can join; return its owner."""
        load = Load(keys, deadline)
        load.owner = load.add_waiter(wakeup, keys)
        return load.owner

    def publish(
        self,
        load: Load,
        start: int,
        stop: int,
        vectors: Vectors,
        source: Source,
        embedding: Embedding,
    ) -> None:
        """Publish and store the vectors of some items of a load, and wake their waiters.

        They are published before they are stored, so that a waiter that leaves meanwhile pays for
        them; and stored before the claim ends, so that no request misses them in between.
        """
        keys = load.keys[start:stop]
        rows = zip(keys, vectors.rows, vectors.tokens, strict=True)
        entries = [(key, Entry(row, tokens)) for key, row, tokens in rows]
        embedding.verify(entries)
        with self._lock:
            for key, entry in entries:
                load.published[key] = Published(entry, source, vectors.estimated)
        embedding.store(entries)
        with self._lock:
            self._release(load, keys)
            done = []
            for waiter in load.waiters:
                waiter.missing.difference_update(keys)
                if not waiter.missing:
                    done.append(waiter)
        for waiter in done:
            waiter.wakeup.set()

    def end(self, load: Load, error: BaseException | None) -> None:
        """End a load: no more of its items will be published."""
        with self._lock:
            if load.is_over:
                return
            load.is_over, load.error = True, error
            self._release(load, load.keys)
        load.wake()

    def leave(self, waiter: Waiter, into: Collected, now: float) -> None:
        """A waiter takes what has come for it, and waits no longer; the last one ends the load.

        The owner pays for all that was published. Once it has left, the next one that leaves does:
        it has kept the load going.
        """
        load = waiter.load
        with self._lock:
            into.take(waiter)
            if load.owner is None or waiter.is_owner:
                into.pay(load)
                load.owner = None
            load.waiters.remove(waiter)
            is_last = not load.waiters
            job = load.job
            if is_last:
                load.job = None  # the job refers to the load: a cycle for the garbage collector
        if not is_last:
            load.wake()  # another waiter must drive the job now
        elif not load.is_over:
            if job is not None:
                job.cancel(now)
            self.end(load, DeadlineExceeded("No request waits for this any more."))

    def _release(self, load: Load, keys: Sequence[bytes]) -> None:
        for key in keys:
            if self._loads.get(key) is load:
                del self._loads[key]


class _Fetch:
    """One request's call of `fetch`: waits for loads, and drives their jobs meanwhile."""

    def __init__(
        self, flights: SingleFlight, embedding: Embedding, deadline: float, timeout: float
    ) -> None:
        self.collected = Collected()
        self._flights = flights
        self._embedding = embedding
        self._deadline = deadline
        self._timeout = timeout
        self._wakeup = Wakeup()
        self._waiters: list[Waiter] = []
        self._failures = Counter[bytes]()  # of loads, by key

    def run(self, keys: Sequence[bytes]) -> None:
        """Wait until all keys are published. Raises as `SingleFlight.fetch`."""
        try:
            self._claim(keys)
            while not self._has_all():
                now = time.monotonic()
                if now >= self._deadline:
                    raise DeadlineExceeded(f"Request timed out after {self._timeout} s.")
                self._wakeup.wait(self._drive(now) - time.monotonic())
        finally:
            for waiter in list(self._waiters):
                self._leave(waiter)

    def _claim(self, keys: Sequence[bytes]) -> None:
        """Join loads of these keys, or start one; unshared for keys that have failed too often."""
        alone = [key for key in keys if self._failures[key] >= _MAX_SHARED_FAILURES]
        shared = [key for key in keys if self._failures[key] < _MAX_SHARED_FAILURES]
        made: list[Waiter] = []
        if shared:
            made += self._flights.claim(shared, self._deadline, self._wakeup)
        if alone:
            made.append(self._flights.make_unshared(alone, self._deadline, self._wakeup))
        self._waiters += made
        for waiter in made:
            if waiter.is_owner:
                self._start(waiter.load)

    def _has_all(self) -> bool:
        """Whether all keys are published; claims the keys of failed loads of others again."""
        has_all = True
        for waiter in list(self._waiters):
            if not waiter.missing:
                continue
            has_all = False
            if waiter.load.is_over:
                missing, is_owner = list(waiter.missing), waiter.is_owner
                self._leave(waiter)
                if is_owner and waiter.load.error is not None:
                    raise waiter.load.error
                self._failures.update(missing)
                self._claim(missing)
        return has_all

    def _drive(self, now: float) -> float:
        """Advance the jobs of the loads; return the time at which to call this again."""
        wake_at = self._deadline
        for waiter in self._waiters:
            job = waiter.load.job
            if waiter.missing and not waiter.load.is_over and job is not None:
                wake_at = min(wake_at, job.advance(now))
        return wake_at

    def _start(self, own: Load) -> None:
        """Give a load its job."""
        flights, embedding = self._flights, self._embedding

        def on_part(begin: int, stop: int, vectors: Vectors, source: Source) -> None:
            flights.publish(own, begin, stop, vectors, source, embedding)

        def wake() -> None:
            job = own.job
            if job is not None and job.is_settled:
                flights.end(own, job.error)
            else:
                own.wake()

        try:
            own.job = job = embedding.start(own.keys, own.deadline, wake, on_part)
            job.extend(own.deadline)  # a request may have joined meanwhile
            own.wake()  # and waits without a time of its own
        except BaseException as error:
            flights.end(own, error)
            raise

    def _leave(self, waiter: Waiter) -> None:
        """Stop waiting for a load, and take its published items."""
        self._waiters.remove(waiter)
        job, is_owner = waiter.load.job, waiter.is_owner
        self._flights.leave(waiter, self.collected, time.monotonic())
        if job is not None:
            took = max(self.collected.upstream_seconds, job.upstream_seconds)
            self.collected.upstream_seconds = took
            if is_owner:
                self.collected.attempts += job.attempts
