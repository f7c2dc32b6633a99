"""A socket whose operations end at a deadline."""

from __future__ import annotations

import io
import socket
from contextlib import suppress
from typing import Any

from app.concurrency.deadline import Deadline

PIECE = 2**16  # bytes read at once, while it is not known how many come


class Until(float):
    """A connect timeout that carries a deadline through urllib3 to the connection."""

    deadline: Deadline
    #: Whether a connection that was used before will not do.
    new_connection = False


class DeadlineSocket:
    """A socket that gives each operation what is left until a deadline, which may move.

    Of ``settimeout`` it takes the deadline of the next exchange; a number would bound only one
    operation at a time.
    """

    def __init__(self, sock: Any, timeout: Any) -> None:
        self._sock = sock
        # Where an egress proxy speaks TLS itself, urllib3 puts an object of its own around it.
        self._plain = getattr(sock, "socket", sock)
        self._deadline: Deadline | None = None
        #: Whether bytes of an answer have come this way.
        self.used = False
        self.settimeout(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, timeout: Any) -> None:
        if isinstance(timeout, Until):
            self._deadline = deadline = timeout.deadline
            deadline.on_cancel(lambda: self._interrupt(deadline))

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._remaining())
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        while True:
            self._sock.settimeout(self._remaining())
            try:
                received: bytes = self._sock.recv(size)
            except TimeoutError:
                continue  # the deadline may have been extended meanwhile
            return received or b""  # urllib3's TLS in TLS ends with 0

    def recv_into(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(self._remaining())
            try:
                received: int = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            return received

    def is_idle(self) -> bool:
        """Whether a connection between exchanges has neither ended nor spoken out of turn."""
        self._sock.settimeout(0)
        with suppress(OSError):
            try:
                self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return True
        return False

    @property
    def may_be_stale(self) -> bool:
        """Whether an end now, before any byte, may be that of a connection kept for too long.

        It is not where the deadline has passed, which a cancellation makes it do.
        """
        return self.used and (self._deadline is None or self._deadline.remaining() > 0)

    def holds_bytes(self) -> bool:
        """Whether the TLS layer has bytes that were read from the socket but not requested."""
        if self._plain is self._sock:
            return bool(self._sock.pending())
        inner = self._sock.sslobj.pending() or self._sock.incoming.pending
        return bool(inner or self._plain.pending())

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        # As socket.socket.makefile, but reading through this object: http.client reads the answer
        # of an egress proxy to CONNECT from a file.
        raw = socket.SocketIO(self, "r")  # type: ignore[arg-type]
        self._plain._io_refs += 1
        return io.BufferedReader(raw, PIECE)

    def _remaining(self) -> float | None:
        if self._deadline is None:
            return None
        remaining = self._deadline.remaining()
        if remaining <= 0:
            raise TimeoutError("the deadline has passed")
        return remaining

    def _interrupt(self, deadline: Deadline) -> None:
        if self._deadline is deadline:  # otherwise another call has the connection by now
            with suppress(OSError):  # closed already
                # The socket's own: that of TLS would first forget that what is sent is encrypted.
                socket.socket.shutdown(self._plain, socket.SHUT_RDWR)
