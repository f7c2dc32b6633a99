"""Locks that cost less than those of `threading`: of state, and to wake one waiting thread."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from functools import cache

_MAX_WAIT_S = 3600.0  # a lock takes no infinite timeout


def uncontended_lock() -> threading.Lock:
    """Return the interpreter's own lock, also where gevent has replaced `threading.Lock`.

    gevent's lock lets other greenlets run while one waits for it. Here none ever does: a greenlet
    switches only where it waits, and nothing waits between this lock's acquire and its release. So
    under gevent the lock is never contended, and it costs a twentieth of gevent's; a request takes
    a dozen. Under threads it is an ordinary lock. Code that does I/O, sleeps or logs while it holds
    the lock would block the whole process under gevent: it needs `threading.Lock`.
    """
    return _allocate_lock()()


@cache
def _allocate_lock() -> Callable[[], threading.Lock]:
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        original: Callable[[], threading.Lock] = get_original("_thread", "allocate_lock")
        return original
    return threading.Lock


class Wakeup:
    """Wakes one waiting thread; a `set` before the `wait` is not lost.

    A bare lock: a `threading.Event` costs five times as much, and each request waits once.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """End the wait that goes on, or else the next one."""
        try:  # noqa: SIM105 - `suppress` takes ten times as long
            self._lock.release()
        except RuntimeError:  # set already
            pass

    def wait(self, seconds: float) -> bool:
        """Wait for `set`, at most so many seconds; whether it came."""
        return self._lock.acquire(timeout=min(max(0.0, seconds), _MAX_WAIT_S))
