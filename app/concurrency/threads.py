"""Threads that run at once, and blocking functions in native threads, left at a time limit."""

from __future__ import annotations

import _thread
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from app.concurrency.deadline import Deadline
from app.concurrency.locks import Wakeup

T = TypeVar("T")
#: Seconds between looks at a cancellation, while all threads are busy. Each look gives up the place
#: in the order of arrival, so that only calls that can be cancelled have them.
_LOOK_S = 0.1


class NoThread(RuntimeError):
    """The system has no further thread for this process."""


class NativeThreads:
    """Runs at most ``max_threads`` functions at a time, those that callers have left included.

    Under gevent these are native threads, too: a function that waits or computes in C would stop
    every greenlet. They are not those of gevent's own pool, where ten calls that hang would stop
    all that need it, look-ups of names among them. No native thread touches a lock that gevent has
    replaced, which two threads cannot share: gevent's hub is told the end of a call, by libev's
    means for that, and wakes the caller. A function must not use such locks either.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._free = _semaphore(max_threads)
        self._pool: Any = None  # gevent's, made in the process that uses it

    def run(
        self,
        function: Callable[[], T],
        timeout_s: float | None = None,
        deadline: Deadline | None = None,
    ) -> T:
        """Return what ``function`` returns, or raise what it raises.

        Raises `TimeoutError` after ``timeout_s``, at the deadline or at its cancellation: a
        function that runs by then keeps its thread until it ends. Raises `NoThread` where no thread
        can be started.
        """
        limit = _Limit(timeout_s, deadline)
        look_s = threading.TIMEOUT_MAX if deadline is None else _LOOK_S
        while not self._free.acquire(timeout=min(look_s, limit.remaining())):
            if not limit.remaining():
                raise TimeoutError("every thread is busy")
        call = _Call(function, self._free.release)
        try:
            self._start(call)
        except BaseException as error:
            call.is_dropped = True  # gevent keeps it, and would make it with its next thread
            self._free.release()
            if isinstance(error, Exception):  # also a `MemoryError`, and those of greenlets
                raise NoThread("no thread can be started") from error
            raise
        if deadline is not None:
            deadline.on_cancel(call.wakeup.set)
        while not call.is_done:
            remaining = limit.remaining()
            if not remaining:
                raise TimeoutError("it took too long")
            call.wakeup.wait(remaining)
        return call.result()

    def _start(self, call: _Call[Any]) -> None:
        if not threads_are_greenlets():
            _thread.start_new_thread(call.run_and_finish, ())
            return
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self._max_threads)
        self._pool.spawn(call.run).rawlink(call.finish)  # the hub calls `finish`


def _semaphore(value: int) -> Any:
    """Return a semaphore that gevent's hub may release, too, where threads are greenlets.

    That of `threading` would not do: a greenlet that begins to wait for it switches while it holds
    the lock inside. The hub cannot wait for that lock, and the thread would never be free again.
    """
    if not threads_are_greenlets():
        return threading.BoundedSemaphore(value)
    from gevent.lock import BoundedSemaphore

    return BoundedSemaphore(value)


class _Limit:
    """Until when a caller waits."""

    def __init__(self, timeout_s: float | None, deadline: Deadline | None) -> None:
        self._end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._deadline = deadline

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        left = self._end - time.monotonic()
        if self._deadline is not None:
            left = min(left, self._deadline.remaining())
        return max(0.0, left)


class _Call(Generic[T]):
    """One call: its result or its error, once it is done."""

    def __init__(self, function: Callable[[], T], release: Callable[[], None]) -> None:
        self.wakeup = Wakeup()
        self.is_done = self.is_dropped = False
        self._function = function
        self._release = release  # frees the thread for the next call
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run_and_finish(self) -> None:
        """Run the function in this thread, and wake the caller."""
        self.run()
        self.finish()

    def run(self) -> None:
        """Run the function, unless the call is dropped; touch no lock."""
        if self.is_dropped:
            return
        try:
            self._result.append(self._function())
        except BaseException as error:
            self._error = error

    def finish(self, _: object = None) -> None:
        """Free the thread, and wake the caller."""
        self.is_done = True
        self._release()
        self.wakeup.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


def threads_are_greenlets() -> bool:
    """Return whether gevent has patched the threads of this process."""
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))


def start_now(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Run a function in a thread of its own; as a greenlet, until it waits for the first time.

    A greenlet that is started as usual runs after all that has arrived on sockets was handled,
    which takes tens of milliseconds under load. The caller goes on after that instead.
    """
    if not threads_are_greenlets():
        _thread.start_new_thread(function, arguments)
        return
    from gevent import Greenlet, get_hub, getcurrent

    resume = get_hub().loop.run_callback(getcurrent().switch)
    try:
        Greenlet(function, *arguments).switch()
    finally:
        resume.stop()  # where the caller was ended meanwhile
