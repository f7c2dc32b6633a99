"""Calls that helper threads make, so that a caller can leave at its timeout."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from app.concurrency.locks import Wakeup, uncontended_lock
from app.concurrency.yielding import yield_control
from app.redis.connect import MAX_CONNECTIONS, Client

T = TypeVar("T")

#: Calls whose callers have left and whose threads have not ended; at this number none is started.
MAX_ABANDONED_CALLS = 32

#: Asks a client, and yields answers one by one; ``remaining_s`` tells how long the caller waits.
Steps = Callable[[Client, Callable[[], float]], Iterator[T]]


class Call(Generic[T]):
    """The answers of a helper thread so far, and the time until which its caller waits."""

    __slots__ = ("answers", "deadline", "error", "is_done", "wakeup")

    def __init__(self, timeout_s: float) -> None:
        self.deadline = time.monotonic() + timeout_s
        self.answers: list[T] = []
        self.error: BaseException | None = None
        self.is_done = False
        self.wakeup = Wakeup()

    def remaining_s(self) -> float:
        """Return the seconds until the caller leaves: 0 or less when it has."""
        return self.deadline - time.monotonic()


class HelperCalls:
    """Starts calls in helper threads (greenlets under gevent), and bounds how many there are.

    The lock guards the number of calls in flight, and those that were left; nothing waits under it.
    """

    def __init__(self) -> None:
        self.in_flight = 0  # also those that were left
        self._abandoned: dict[Call[Any], float] = {}  # since when, the longest first
        self._lock = uncontended_lock()

    @property
    def stuck_s(self) -> float:
        """Seconds for which the oldest call that was left has not ended, where there are too many.

        0 where more calls can be made.
        """
        with self._lock:
            if len(self._abandoned) < MAX_ABANDONED_CALLS:
                return 0.0
            return time.monotonic() - next(iter(self._abandoned.values()))

    def start(self, client: Any, steps: Steps[T], timeout_s: float) -> Call[T] | None:
        """Run ``steps`` in a thread; None where there are too many, or none can be had."""
        call = Call[T](timeout_s)
        with self._lock:
            if len(self._abandoned) >= MAX_ABANDONED_CALLS or self.in_flight >= MAX_CONNECTIONS:
                return None
            self.in_flight += 1
        try:
            # Not threading.Thread, whose bookkeeping costs more than the start of a greenlet.
            _thread.start_new_thread(self._run, (client, steps, call))
        except Exception:  # no thread can be had: not the server's failure
            with self._lock:
                self.in_flight -= 1
            return None
        return call

    def wait(self, call: Call[Any]) -> None:
        """Wait until a call has ended, or its caller must leave."""
        if call.wakeup.wait(call.remaining_s()):
            return
        # Where this process was busy, the answer may be here and its thread not have run.
        yield_control()
        with self._lock:
            if not call.is_done:
                self._abandoned[call] = time.monotonic()

    def _run(self, client: Any, steps: Steps[T], call: Call[T]) -> None:
        """Make a call, in its thread."""
        try:
            for answer in steps(client, call.remaining_s):
                call.answers.append(answer)
                if call.remaining_s() <= 0:
                    break
        except BaseException as error:  # the caller judges it
            call.error = error.with_traceback(None)
        finally:
            with self._lock:
                self.in_flight -= 1
                self._abandoned.pop(call, None)
                call.is_done = True
            call.wakeup.set()
