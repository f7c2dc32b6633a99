"""Writes a response: its head in one write with the first bytes of its body."""

from __future__ import annotations

import math
import re
import time

from gunicorn.http.errors import InvalidResponseHeader  # type: ignore[import-untyped]
from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]
from gunicorn.util import http_date  # type: ignore[import-untyped]

SERVER = "embeddings-proxy"

#: Headers of most answers that have no meaning for a server: their values are checked together.
_PLAIN = frozenset(
    ("Content-Type", "Server-Timing", "x-request-id", "cache-control", "x-content-type-options")
) | {f"x-proxy-{name}" for name in ("cache", "cached-tokens", "provider", "attempts", "space")}

_LINES = re.compile(r"(?:[\t -~\x80-\xff]*\r\n)*")  # gunicorn's rule for values
_MAX_BODY_BYTES_WITH_HEAD = 2**16  # maximum bytes of the body that are written with the head
_date = (0, "")  # a second and its HTTP date


class BufferedHeadResponse(Response):  # type: ignore[misc]
    """gunicorn's response, with head and first bytes of the body in one write."""

    #: The head, until the first bytes of the body. gunicorn creates the object.
    _head = b""
    #: The time, by `time.monotonic`, by which the client must have read the whole answer.
    deadline = math.inf
    headers_sent: bool

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        for pair in headers:
            if pair[0] in _PLAIN:
                self.headers.append(pair)
            else:
                super().process_headers([pair])

    def default_headers(self) -> list[str]:
        connection = "close" if self.should_close() else "keep-alive"
        # At most the version that this server conforms to: HTTP/1.2 gets 1.1 (RFC 9110, 6.2).
        major, minor = min(self.req.version, (1, 1))
        start = [
            f"HTTP/{major}.{minor} {self.status}\r\n"
            f"Server: {SERVER}\r\nDate: {_now()}\r\nConnection: {connection}\r\n"
        ]
        if self.chunked:
            start.append("Transfer-Encoding: chunked\r\n")
        return start

    def send_headers(self) -> None:
        if self.headers_sent:
            return
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        if lines.count("\n") != len(self.headers) or not _LINES.fullmatch(lines):
            raise InvalidResponseHeader("a value that would be read as another header")
        self._head = f"{''.join(self.default_headers())}{lines}\r\n".encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
        if not self._head:
            self._send(framed)
            return
        head, self._head = self._head, b""
        # Not all of a long answer, which would copy it once more.
        rest = memoryview(framed)[_MAX_BODY_BYTES_WITH_HEAD:]
        self._send(head + framed[:_MAX_BODY_BYTES_WITH_HEAD])
        if rest:
            self._send(rest)

    def _send(self, data: bytes | memoryview) -> None:
        """Write all of ``data``. Not by gevent's `sendall`, which has one system call more."""
        while data:
            if self.deadline != math.inf:
                # A socket's timeout applies to one write: before each, set the remaining time.
                self.sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
            sent = self.sock.send(data)
            data = memoryview(data)[sent:]

    def can_sendfile(self) -> bool:
        return False  # sendfile would bypass `_emit_body`

    def close(self) -> None:
        self.send_headers()
        if self._head:  # there was no body
            head, self._head = self._head, b""
            self._send(head)
        if self.chunked:
            self._send(b"0\r\n\r\n")


def _now() -> str:
    """Return the HTTP date, formatted once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = second, http_date(second)
    return _date[1]
