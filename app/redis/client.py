"""Best-effort Redis client: call timeout and circuit breaker.

For requests that can do without an answer. `BestEffortClient.call` returns what a server answers
within the call timeout, else None:

1. While the circuit breaker is open, the server is not asked.
2. Else a helper thread (a greenlet under gevent) asks it, through redis-py, and the caller waits
   for that thread until the timeout passes. Then the caller leaves, whatever the thread is doing:
   looking up a name, connecting, or reading an answer that comes slowly. redis-py's own timeouts
   bound each single step of the thread.
3. Failures in a row open the breaker, which closes all connections, so that the helper threads
   that were left end too.

A background task connects, probes while the breaker is open, and does the chores that no caller
waits for.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from redis.exceptions import ConnectionError as Disconnected

from app.concurrency.periodic import PeriodicTask
from app.redis.calls import HelperCalls, Steps
from app.redis.circuit_breaker import CircuitBreaker
from app.redis.connect import Client, close, connect, without_secrets

_log = logging.getLogger("app.redis")
T = TypeVar("T")

#: Seconds for one step (a connect, a read) that no caller waits for.
STEP_TIMEOUT_S = 1.0
#: Seconds that a probe may take to connect, with all its steps.
CONNECT_TIMEOUT_S = 2.0
#: Seconds after which calls that were left show, where there are too many, that the server is sick.
MAX_ABANDONED_S = 2.0
#: Seconds between two rounds of chores, where nothing asks for one earlier.
ROUND_S = 1.0


class Chores(Protocol):
    """Work in the background. What it raises is a failure of the server."""

    def __call__(self, client: Client, is_due: bool) -> object:
        """``is_due``: ``round_s`` have passed; else `BestEffortClient.wake` was called."""


class BestEffortClient:
    """Asks one server for requests, each within ``timeout_s``, while the circuit breaker lets it.

    ``purpose`` names in the log what the server is for. ``chores`` run in the background, every
    ``round_s``.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        purpose: str,
        chores: Chores = lambda client, is_due: None,
        breaker: CircuitBreaker | None = None,
        round_s: float = ROUND_S,
    ) -> None:
        self._url, self._timeout_s, self._purpose, self._chores = url, timeout_s, purpose, chores
        self.breaker = breaker or CircuitBreaker()
        self.calls = self.failures = self.skipped = 0  # counts for reports; not exact under threads
        self._client: Client | None = None
        self._is_probed = threading.Event()  # the first probe has ended, well or not
        self._round_s = round_s
        self._round_at = 0.0  # monotonic; the first round is due at once
        self._helpers = HelperCalls()
        self._task = PeriodicTask(f"redis-{purpose}", self._round, round_s, at_stop=self._finish)

    @property
    def url(self) -> str:
        """The address without its secrets."""
        return without_secrets(self._url)

    def call(self, ask: Callable[[Client], T]) -> T | None:
        """Return what ``ask`` makes of a client, or None: not asked, or no answer in time."""

        def one_step(client: Client, remaining_s: object) -> Iterator[T]:
            yield ask(client)

        answers = self.collect(one_step)
        return answers[0] if answers else None

    def collect(self, steps: Steps[T]) -> list[T]:
        """Return the answers that ``steps`` yields within the call timeout: all, some or none.

        ``steps`` runs in a helper thread, which ends it at the first answer after the timeout. The
        connection stays in use until then, and is kept. A call with some answers is no failure.
        """
        client = self._client
        if self.breaker.is_open or client is None or not self._is_probed.is_set():
            self.skipped += 1
            return []
        call = self._helpers.start(client, steps, self._timeout_s)
        if call is None:
            self.skipped += 1
            if self._helpers.stuck_s > MAX_ABANDONED_S:
                self._fail(
                    TimeoutError(f"no end of a call in {MAX_ABANDONED_S} s"), is_certain=True
                )
            return []
        self.calls += 1
        self._helpers.wait(call)
        if call.error is None and (call.answers or call.is_done):
            self.breaker.record_success()
        else:
            self.failures += 1
            self._fail(call.error or TimeoutError(f"no answer within {self._timeout_s} s"))
        return list(call.answers)  # a copy: the thread may be about to add another

    def ready(self) -> bool:
        """Start, and wait for the first probe up to the call timeout; return whether it has ended.

        `call` does not ask before, so that no caller waits twice.
        """
        if self._is_probed.is_set():
            return True
        self.start()
        return self._task.is_started and self._is_probed.wait(self._timeout_s)

    def wake(self) -> None:
        """Have the chores done now, unless the breaker is open. Never waits."""
        if not self.breaker.is_open:
            self._task.wake()
            if not self._task.is_started:
                self.start()

    def start(self) -> None:
        """Start the background task. Not before a request: gunicorn's master forks.

        Where no thread can be had, the next request tries again: none fails for want of this one.
        """
        if not self._task.is_started:
            with suppress(Exception):  # also a `MemoryError`, and those of greenlets
                self._task.start()
                atexit.register(self.close)

    def close(self) -> None:
        """Do the chores once more, within their time, and close all connections."""
        atexit.unregister(self.close)
        if self._task.is_started:
            self._task.stop(2 * STEP_TIMEOUT_S)

    # Failures

    def _fail(self, error: BaseException, is_certain: bool = False) -> None:
        # A refused or broken connection leaves no doubt, other than an answer that is late.
        if self.breaker.record_failure(is_certain or isinstance(error, Disconnected)):
            self._opened(error)

    def _opened(self, error: BaseException) -> None:
        name = type(error).__name__
        _log.warning(
            "%s: %s is not asked until it answers: %s: %s", self._purpose, self.url, name, error
        )
        self._drop_client()
        self._task.wake()  # to plan the next probe

    def _drop_client(self) -> None:
        """Close all connections, also those that helper threads wait on, so that these end."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                close(client)

    # The background task

    def _round(self) -> float:
        """Probe or do the chores; return the seconds until the next round."""
        began = time.monotonic()
        if self.breaker.is_open or self._client is None:
            wait_s = self.breaker.seconds_to_probe() if self.breaker.is_open else 0.0
            if wait_s > 0:
                return wait_s
            self._probe()
        if not self.breaker.is_open:
            is_due = began >= self._round_at
            if is_due:
                self._round_at = began + self._round_s
            self._do_chores(is_due)
        self._is_probed.set()
        return self.breaker.probe_interval_s if self.breaker.is_open else self._round_at - began

    def _finish(self) -> None:
        if self._client is not None and not self.breaker.is_open:
            self._do_chores(is_due=False)
        self._drop_client()

    def _probe(self) -> None:
        """Connect anew, which may take long, then ask once within the call timeout."""

        def connected(_: object, remaining_s: object) -> Iterator[Client]:
            client = connect(self._url, STEP_TIMEOUT_S)
            client.ping()
            yield client

        def pong(client: Client, remaining_s: object) -> Iterator[bool]:
            yield client.ping()

        try:
            (client,) = self._answers(None, connected, CONNECT_TIMEOUT_S)
            self._client = client
            self._answers(client, pong, self._timeout_s)
        except Exception as error:
            self._drop_client()
            if self.breaker.record_probe(is_good=False):
                self._opened(error)
            return
        if self.breaker.record_probe(is_good=True):
            _log.warning("%s: %s answers again", self._purpose, self.url)

    def _answers(self, client: Any, steps: Steps[T], timeout_s: float) -> Iterable[T]:
        """Return all answers, or raise: for probes."""
        call = self._helpers.start(client, steps, timeout_s)
        if call is None:
            raise TimeoutError("too many calls have not ended")
        self._helpers.wait(call)
        if call.error is not None:
            raise call.error
        if not call.answers:
            raise TimeoutError(f"no answer within {timeout_s} s")
        return call.answers

    def _do_chores(self, is_due: bool) -> None:
        client = self._client
        if client is None:
            return
        try:
            self._chores(client, is_due)
        except Exception as error:
            self._fail(error)
