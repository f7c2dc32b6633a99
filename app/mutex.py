"""A lock for moments in which nothing waits."""

from __future__ import annotations

import sys
import threading


def mutex() -> threading.Lock:
    """The interpreter's own lock, also where gevent has put its own in the place of `Lock`.

    Between its acquire and its release no greenlet may switch, so under gevent it is never
    contended, and it costs a twentieth of gevent's, of which a request would take a dozen.
    """
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        lock: threading.Lock = get_original("_thread", "allocate_lock")()
        return lock
    return threading.Lock()
