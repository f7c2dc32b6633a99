"""Reads a request at a minimum rate; its body is complete or an error."""

from __future__ import annotations

import contextlib
import io
import math
import socket
import time
from typing import Any

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

from app.concurrency.yielding import WorkTimer

#: Seconds that a client has for the head, and again for the body; each byte that arrives extends
#: them, by `MIN_BYTES_PER_S`.
IDLE_CLIENT_TIMEOUT_S = 30.0
#: A client that sends slower than this, for longer than `IDLE_CLIENT_TIMEOUT_S`, is too slow.
MIN_BYTES_PER_S = 16 * 2**10
#: Unread bytes of a body, at most, that are read so that the connection can be used again.
MAX_UNREAD_BYTES_TO_KEEP = 64 * 2**10
#: Seconds and bytes, at most, of discarding what a refused client still sends.
DRAIN_TIMEOUT_S = 5.0
MAX_DRAIN_BYTES = 64 * 2**20


class TooSlow(errors.ParseException):  # type: ignore[misc]
    """The client sent too slowly."""


class BodyError(OSError):
    """The body is incomplete, too slow or wrongly framed: a 400, and a retry is safe.

    An OSError because werkzeug turns those into its ClientDisconnected, a 400 too.
    """


class Unreader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader of a socket, with a deadline that is extended as bytes arrive."""

    #: The client of the connection by the PROXY protocol.
    proxy_protocol_info: dict[str, Any] | None = None

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._work = WorkTimer()
        self.expect()

    def expect(self, seconds: float | None = None) -> None:
        """Allow these seconds for the next bytes; by default `IDLE_CLIENT_TIMEOUT_S`."""
        self.deadline = time.monotonic() + (IDLE_CLIENT_TIMEOUT_S if seconds is None else seconds)
        self._work.restart()

    def chunk(self, size_hint: int | None = None) -> bytes:
        self._work.yield_if_due()
        # Not 0, which would mean "do not wait": bytes that have arrived may always be read.
        self.sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise TooSlow from None
        self.deadline += len(data) / MIN_BYTES_PER_S
        return data


class Body(io.RawIOBase):
    """``wsgi.input``: gunicorn's, which counts unread bytes and raises for an incomplete body."""

    def __init__(self, req: Any, unreader: Unreader, sock: Any) -> None:
        self._body, self._unreader, self._sock = req.body, unreader, sock
        #: Bytes not read yet; infinite until the end of a chunked body is read.
        self.unread_bytes: float = getattr(req.body.reader, "length", math.inf)
        self.failed = False  # read by gunicorn's parser
        self.waited_s = 0.0  # of its request, for a thread
        self._started = self.unread_bytes == 0
        # gunicorn would send "100 Continue" before calling the app. Here the first read sends it,
        # so a client that is refused (401, 413) need not send its body.
        self._continue = req._expected_100_continue
        req._expected_100_continue = False

    @property
    def keeps_connection(self) -> bool:
        """Whether the connection can carry another request after this body."""
        return (
            self.unread_bytes <= MAX_UNREAD_BYTES_TO_KEEP
            and not self.failed
            and not (self.unread_bytes and self._continue)
        )

    def finish(self) -> bool:
        """Read a small unread rest; return whether the connection can have another request."""
        if not self.keeps_connection:
            return False
        with contextlib.suppress(BodyError):
            self._start(DRAIN_TIMEOUT_S)
            while self.unread_bytes:
                self.read(8192)
        return not self.failed

    def _start(self, seconds: float | None = None) -> None:
        if self._started:
            return
        self._started = True
        self._unreader.expect(seconds)
        if self._continue:
            self._continue = False
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read(self, size: int | None = -1) -> bytes:
        self._start()
        try:
            data: bytes = self._body.read(size)
        except (errors.ParseException, OSError):
            self.failed = True
            raise BodyError("the request body could not be read") from None  # it may have a key
        self.unread_bytes -= len(data)
        if size is None or size < 0 or len(data) < size:  # the end of the body
            if 0 < self.unread_bytes < math.inf:
                self.failed = True
                raise BodyError("the request body broke off")
            self.unread_bytes = 0
        return data

    def readinto(self, buffer: Any) -> int:  # readline, its variants and werkzeug use it
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def close_after_answer(sock: Any, timeout_s: float) -> None:
    """Send FIN, then read and discard what the client sends, up to ``timeout_s``.

    Closing with unread bytes would send a reset, which can reach the client before the answer
    (RFC 9112, 9.6). With 0 only bytes that have arrived already are read.
    """
    deadline, limit = time.monotonic() + timeout_s, MAX_DRAIN_BYTES
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while limit > 0:
            sock.settimeout(max(deadline - time.monotonic(), 0))
            received = len(sock.recv(2**16))
            if not received:
                break
            limit -= received
