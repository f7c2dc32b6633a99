"""Whether the other end of a connection has closed it, without reading from it."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

#: Linux reports a FIN also while bytes before it are unread: a pipelined request, or TLS records.
#: Elsewhere only a reset is noticed.
_CLOSED = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR | select.POLLNVAL

#: Seconds between two looks at the client of a request that waits: no short request has one.
CLIENT_LOOK_S = 1.0


def never_left() -> bool:
    """Return False; the default of ``has_client_left``, for requests without a connection."""
    return False


def has_closed(sock: Any) -> bool:
    """Return whether the peer of a socket has closed its sending side, or reset the connection.

    It is one system call that neither waits nor reads. A peer that has only shut down its sending
    side (``shutdown(SHUT_WR)``) looks the same as one that has closed.
    """
    if sock.fileno() < 0:
        return True  # it is closed on this side
    poll = _poll()()
    poll.register(sock, _CLOSED)
    return bool(poll.poll(0))


@cache
def _poll() -> Callable[[], Any]:
    """Return the interpreter's own `select.poll`: gevent's switches to other greenlets."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        original: Callable[[], Any] = get_original("select", "poll")
        return original
    return select.poll
