"""Answers of providers, parsed by llhttp (httptools) as their bytes come over a connection.

llhttp decides where an answer ends and refuses what the RFCs do not allow. This module adds what it
leaves to its user: interim answers, sizes, the versions and codings that are understood, and
whether the connection may be used again. Of a large body of known length it parses the first bytes;
the rest, which has nothing to parse, is received into one buffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.concurrency.yielding import WorkTimer
from app.providers.http.sockets import PIECE, DeadlineSocket

#: Headers of an answer, as many as http.client allows.
MAX_HEADERS = 99
#: Bytes that may come without any of the body among them: heads, sizes of chunks, trailers.
MAX_BYTES_WITHOUT_BODY = 2**16
#: Bytes of the largest body that is received into a buffer of its announced length.
MAX_BUFFER = 2**28
OK, SWITCHING_PROTOCOLS = 200, 101
#: Statuses that come without a body. Some providers send one all the same.
WITHOUT_BODY = (204, 304)


class MalformedAnswer(Exception):
    """The bytes of an answer are not HTTP/1.1, or can be read in more than one way.

    urllib3 and requests do not know it: they close the connection and pass it on.
    """


class Answer:
    """One answer to one request; a context that gives its connection back to the pool.

    What urllib3's pool reads has urllib3's names (``version_string``, ``length_remaining``), and
    what it writes (``retries``, ``_connection``, ``_pool``). ``headers`` have lower-case names;
    values of one name are joined by commas (RFC 9110, 5.3).
    """

    version_string = "HTTP/1.1"
    length_remaining = None
    retries: Any = None
    _connection: Any = None
    _pool: Any = None

    def __init__(self, sock: DeadlineSocket) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._sock = sock
        self._has_head = self._is_complete = False
        self._ends_with_connection = self._keeps_connection = self._is_reusable = False
        self._length = 0  # of the body in bytes, where it is announced
        self._header_count = self._bytes_without_body = 0
        self._body = bytearray()  # a list of tiny chunks would take many times their size
        # Refers to this object and is referred to by it: set to None at the end of the exchange, so
        # that nothing is left to the garbage collector.
        self._parser: Any = HttpResponseParser(self)

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connection back, closed where it cannot carry another exchange."""
        self._parser = None
        if not self._is_reusable:
            self._connection.close()
        self._pool._put_conn(self._connection)

    def read_head(self, data: bytes) -> None:
        """Read up to the end of the final head. ``data`` are the first bytes of the answer.

        Raises `MalformedAnswer`, and `ConnectionError` where the answer breaks off.
        """
        try:
            if data[:1] not in (b"H", b""):  # llhttp skips empty lines, and knows other protocols
                raise MalformedAnswer("not HTTP")
            self._parse(data)
            while not self._has_head:
                self._parse(self._sock.recv(PIECE))
        except BaseException:
            self._parser = None
            raise

    def read(self, limit: int) -> bytes | memoryview | None:
        """The whole body, or None where it is longer than ``limit``. Raises as `read_head`.

        It is a memoryview only where it is large and the status is 200.
        """
        missing = self._length - len(self._body)
        if missing > PIECE and self.status == OK and self._length <= min(limit, MAX_BUFFER):
            return self._read_into_buffer()
        timer = WorkTimer()
        while not self._is_complete and len(self._body) <= limit:
            timer.yield_if_due()
            self._parse(self._sock.recv(PIECE))
        if len(self._body) > limit:
            return None
        is_large = self.status == OK and len(self._body) > PIECE
        return memoryview(self._body) if is_large else bytes(self._body)

    def _read_into_buffer(self) -> memoryview:
        """Read the rest of the body, and not one byte more."""
        # Unlike a bytearray's, its memory is not written to before the bytes have come: an
        # announced length alone takes none.
        body = np.empty(self._length, np.uint8).data
        body[: len(self._body)] = self._body
        rest = body[len(self._body) :]
        while rest:
            received = self._sock.recv_into(rest)
            if not received:
                raise ConnectionError("the answer broke off")
            rest = rest[received:]
        self._is_complete, self._is_reusable = True, self._keeps_connection
        return body

    def _parse(self, data: bytes) -> None:
        """Parse the next bytes. None are the end of the connection."""
        if not data:
            if not self._ends_with_connection:
                raise ConnectionError("the answer broke off")
            self._is_complete = True
            return
        view, body_size = memoryview(data), len(self._body)
        try:
            # llhttp does not say where in the data an answer ended. Nothing came beyond it exactly
            # if it was complete with the last byte, and not before.
            self._parser.feed_data(view[:-1])
            has_surplus = self._is_complete
            if not has_surplus:
                self._parser.feed_data(view[-1:])
            self._is_reusable = self._is_complete and self._keeps_connection and not has_surplus
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._is_complete:
                raise MalformedAnswer(str(error.__context__ or error)) from error
        if len(self._body) > body_size:
            self._bytes_without_body = 0
            return
        self._bytes_without_body += len(data)
        if self._bytes_without_body > MAX_BYTES_WITHOUT_BODY:
            raise MalformedAnswer("too many bytes that are not of the body")

    # Called by the parser, in this order. What they raise ends it as a `HttpParserError`.

    def on_message_begin(self) -> None:
        if self._has_head:
            raise ValueError("an answer to no request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            raise ValueError("too many headers")
        if self._has_head:
            return  # of a trailer
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != SWITCHING_PROTOCOLS:
            self.headers, self._header_count = {}, 0  # the final answer follows (RFC 9110, 15.2)
            return
        coding = self.headers.get("transfer-encoding")
        if status < 200 or self._parser.get_http_version() not in ("1.1", "1.0"):
            raise ValueError("an unknown version or status")
        if coding is not None and (coding.lower() != "chunked" or status in WITHOUT_BODY):
            raise ValueError("an unexpected transfer coding")
        self.status, self._has_head = status, True
        length = self.headers.get("content-length")
        self._ends_with_connection = coding is None and length is None
        if coding is None and length is not None:
            self._length = int(length)  # one, and of digits alone: llhttp refuses others
        self._keeps_connection = (
            self._parser.should_keep_alive()
            and "close" not in self.headers.get("connection", "").lower()
            and status not in WITHOUT_BODY
        )

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._is_complete = self._has_head  # not at the end of an interim answer
