"""A lock for critical sections in which nothing waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache


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
