"""Opening connections to providers: every step ends at the deadline, and at its cancellation.

A name is looked up in threads of the provider's own, so that a resolver that hangs holds up no
other provider. Addresses are tried one after the other, each with an equal share of the time that
is left: one that does not answer leaves time for the next. A `Watchdog` bounds the handshake of TLS
and of an egress proxy: a timeout of the socket would bound each read of it, and not the whole.
"""

from __future__ import annotations

import _thread
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from app.concurrency.deadline import Deadline
from app.concurrency.locks import Wakeup
from app.concurrency.threads import NativeThreads, NoThread, threads_are_greenlets

#: Look-ups of one provider's name at a time, with those that hang.
MAX_LOOKUPS = 4
#: Seconds between a watchdog's looks at a cancellation.
LOOK_S = 0.1
_Address = tuple[Any, ...]  # as `socket.getaddrinfo` gives it


def getaddrinfo(host: str, port: int) -> Any:
    """The addresses of a host, by the real function: gevent's own asks threads that all share."""
    if not threads_are_greenlets():
        return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    from gevent.monkey import get_original

    return get_original("socket", "getaddrinfo")(host, port, 0, socket.SOCK_STREAM)


def resolve(host: str, port: int, lookups: NativeThreads, deadline: Deadline, end: float) -> Any:
    """The addresses of a host. ``end`` is of the monotonic clock.

    Raises `socket.gaierror` and `TimeoutError`.
    """
    try:
        ip_address(host)
    except ValueError:
        seconds = end - time.monotonic()
        try:
            return lookups.run(lambda: getaddrinfo(host, port), seconds, deadline)
        except NoThread:  # better here than not at all: it is no fault of the provider
            return getaddrinfo(host, port)
    return getaddrinfo(host, port)  # nothing is asked


def connect(
    addresses: Sequence[_Address], deadline: Deadline, end: float, options: Sequence[Any] = ()
) -> socket.socket:
    """Return a socket that is connected to the first address that accepts it. Raises `OSError`."""
    failure: OSError = OSError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        remaining = min(deadline.remaining(), end - time.monotonic())
        if remaining <= 0:
            raise TimeoutError("no address took a connection in time")
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(remaining / (len(addresses) - number))
            deadline.on_cancel(interrupter(sock))
            sock.connect(address)
            # From here on the watchdog interrupts: a socket that is shut down just before it is
            # given to TLS is leaked by Python 3.11 (ssl.SSLSocket._create).
            deadline.on_cancel(_do_nothing)
            if deadline.remaining() <= 0:
                raise TimeoutError("the deadline has passed")
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def interrupter(sock: socket.socket) -> Callable[[], None]:
    """Return a function that ends any wait on a socket, from any thread."""

    def interrupt() -> None:
        with suppress(OSError):  # closed already
            # The plain socket's own: that of TLS would first forget that what is sent is encrypted.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    return interrupt


class Watchdog:
    """Interrupts a socket at the deadline, its cancellation or ``end``, unless it is stopped."""

    def __init__(self, sock: socket.socket, deadline: Deadline, end: float) -> None:
        self._deadline = deadline
        self._end = end
        self._wakeup = Wakeup()
        self.has_interrupted = False
        # TLS takes the descriptor away from the socket that it is given.
        self._sock = sock.dup()
        try:
            _thread.start_new_thread(self._run, ())
        except Exception:  # no thread can be had: the socket's timeout bounds each step
            self._sock.close()

    def stop(self) -> None:
        """End the watch, without interrupting the socket."""
        self._wakeup.set()

    def _run(self) -> None:
        with self._sock:
            while (left := min(self._deadline.remaining(), self._end - time.monotonic())) > 0:
                if self._wakeup.wait(min(left, LOOK_S)):
                    return
            self.has_interrupted = True  # before its effect is seen
            interrupter(self._sock)()


def _do_nothing() -> None:
    pass
