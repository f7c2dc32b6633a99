"""Answers of providers as they come over a connection, read in one of two ways.

An answer whose head has nothing unusual in it is read by one regular expression, since http.client
and its e-mail parser take half of what a short call costs. Every other answer (chunked, HTTP/1.0,
without a length) is left to http.client.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

from app.providers.http.sockets import PIECE, DeadlineSocket

#: A head that leaves nothing to be argued about: names of letters, digits and hyphens, values of
#: printable ASCII, and not a status that comes without a body or before another.
_USUAL = re.compile(
    rb"HTTP/1\.1 (2(?!04)\d\d|3(?!04)\d\d|[45]\d\d)(?: [ -~]*)?\r\n"
    rb"((?:[A-Za-z0-9-]+:[ -~]*\r\n)+)\r\n"
)
_LENGTH = re.compile(r"\d{1,15}")


class Answer:
    """An answer whose length is known, its body still to be read; a context, as urllib3's.

    What urllib3's pool looks at has urllib3's names, and what it writes: the last three.
    ``headers`` have lower-case names.
    """

    version_string = "HTTP/1.1"

    def __init__(self, status: int, headers: dict[str, str], length: int, begun: bytes) -> None:
        self.status = status
        self.headers = headers
        self.length_remaining = length
        self._begun = begun
        self._reusable = False
        self.retries: Any = None
        self._connection: Any = None
        self._pool: Any = None

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connection back, closed where it cannot carry another exchange."""
        if not self._reusable:
            self._connection.close()
        self._pool._put_conn(self._connection)

    def read(self) -> bytes:
        """The whole body. Raises `ConnectionError` where it breaks off."""
        length, body = self.length_remaining, self._begun
        if len(body) > length:
            return body[:length]  # what came beyond it belongs to no request of ours
        if len(body) < length:
            # Memory that is written to as bytes come: a length is only a word until then.
            rest = io.BufferedReader(_Rest(body, length, self._connection.sock), PIECE)
            body = rest.read(length)
            if len(body) < length:
                raise ConnectionError("the answer broke off")
        self._reusable = "close" not in self.headers.get("connection", "").lower()
        return body


class _Rest(io.RawIOBase):
    """``length`` bytes, of which the first have come already, and none beyond."""

    def __init__(self, begun: bytes, length: int, sock: DeadlineSocket) -> None:
        self._begun, self._left, self._sock = begun, length, sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._begun:
            received = min(len(buffer), len(self._begun))
            buffer[:received] = self._begun[:received]
            self._begun = self._begun[received:]
        else:
            received = self._sock.recv_into(buffer[: self._left]) if self._left else 0
        self._left -= received
        return received


class UnusualAnswer(http.client.HTTPResponse):
    """http.client's, but it waits for the final answer, and knows that no chunk is negative.

    What came beyond the answer is not lost, so that its connection is not taken for idle.
    """

    def __init__(self, sock: DeadlineSocket) -> None:
        super().__init__(sock, method="POST")  # type: ignore[arg-type]  # `makefile` is all it asks
        self._keep = sock.keep

    def _close_conn(self) -> None:
        if not self.fp.closed:
            self._keep(self.fp)
        super()._close_conn()  # type: ignore[misc]

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)  # of one before it (RFC 9110, 15.2)

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError("a chunk of less than nothing")
        return size

    @property
    def is_framed(self) -> bool:
        """Whether there is no doubt about where it ends, so that another may follow it."""
        connection, length, coding = (
            ",".join(self.headers.get_all(name, [])).lower()
            for name in ("connection", "content-length", "transfer-encoding")
        )
        framed = not length if self.chunked else not coding and _LENGTH.fullmatch(length)
        ends = self.will_close or "close" in connection
        return bool(framed) and not ends and self.status >= 200 and self.status not in (204, 304)


def usual_answer(data: bytes) -> Answer | None:
    """The answer that begins with these bytes, where they tell its length and all its headers."""
    match = _USUAL.match(data)
    if match is None:
        return None
    headers: dict[str, str] = {}
    for line in match[2].decode().split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length = headers.get("content-length", "")
    if (
        "transfer-encoding" in headers
        or "content-encoding" in headers
        or not _LENGTH.fullmatch(length)
    ):
        return None
    return Answer(int(match[1]), headers, int(length), data[match.end() :])
