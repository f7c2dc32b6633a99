"""Connections to providers: urllib3 opens and pools them, this module writes and reads requests.

urllib3 does TLS and egress proxies, and decides which connection is reused. A request is written
here, in one write where it is small, and its answer is read by `app.providers.http.answers`. All of
it ends at the deadline of the call.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)

from app.concurrency.threads import NativeThreads
from app.providers.http.answers import Answer
from app.providers.http.opening import MAX_LOOKUPS, Watchdog, connect, resolve
from app.providers.http.sockets import PIECE, DeadlineSocket

#: Bytes of a request, at most, whose head and body are joined: a copy costs less than a write.
_MAX_BYTES_IN_ONE_WRITE = 2**16
#: In the place of a pool's timeout: only a new connection will do.
_NEW: Any = object()
_REQUEST = re.compile(
    r"[A-Z]+ [!-~]+ HTTP/1\.1(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*)+"
)


class StaleConnection(Exception):
    """A connection of an earlier exchange ended before the first byte of this answer.

    The provider closed it while idle, most likely as this request was sent: what was asked may be
    asked again on a new connection (RFC 9112, 9.3.1; an embedding is idempotent). urllib3 and
    requests do not know it, so they pass it on as it is.
    """


class Unsendable(ValueError):
    """The head of a request has a character in it that would be read as something else."""


class _BaseConnection:
    """Sends requests and reads answers by a deadline; the base class of plain and TLS connections.

    It overrides methods of urllib3's classes, which are its siblings in the two subclasses.
    """

    sock: Any
    timeout: Any
    send: Any
    close: Any
    host: str
    port: int
    socket_options: Any
    _dns_host: str
    lookups: NativeThreads  # of names, of its pool
    _watchdog: Watchdog | None = None

    @property
    def is_watched(self) -> bool:
        """Whether more has to be agreed on once it is connected: a tunnel, TLS."""
        return self._tunnel_host is not None  # type: ignore[attr-defined]

    def request(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        **_: Any,  # of urllib3, for features that are not used: chunks, reading ahead
    ) -> None:
        if self.sock is not None:  # else `connect` does
            self.sock.settimeout(self.timeout)
        head = _head(method, url, headers)
        try:
            if len(head) + len(body) <= _MAX_BYTES_IN_ONE_WRITE:
                self.send(head + body)
            else:
                self.send(head)
                self.send(body)
        except (BrokenPipeError, ConnectionResetError):
            raise  # urllib3 then looks whether an answer came before the end
        except OSError as error:
            if self.sock is not None and self.sock.may_be_stale:
                raise StaleConnection from error
            raise

    def _first_bytes(self) -> bytes:
        """The first bytes of the answer, or none at the end of a connection that was new."""
        try:
            data: bytes = self.sock.recv(PIECE)
        except OSError as error:
            if self.sock.may_be_stale:
                raise StaleConnection from error
            raise
        if not data and self.sock.may_be_stale:
            raise StaleConnection
        self.sock.used = True
        return data

    def getresponse(self) -> Answer:
        data = self._first_bytes()
        answer = Answer(self.sock)
        answer.read_head(data)
        return answer

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
            self._check_connected()
        except Exception as error:
            # What an interruption looks like depends on what the provider sends after it.
            was_interrupted = self._watchdog is not None and self._watchdog.has_interrupted
            if was_interrupted and self.timeout.deadline.remaining() > 0:
                raise ConnectTimeoutError(self, "no connection in time") from error
            raise
        finally:
            if self._watchdog is not None:
                self._watchdog.stop()
                self._watchdog = None
        self.sock = DeadlineSocket(self.sock, self.timeout)

    def _check_connected(self) -> None:
        """Raise where the connection cannot be used, although no error was raised."""

    def _new_conn(self) -> socket.socket:
        """Open the connection, within the connect timeout in all. Raises as urllib3 does."""
        deadline, end = self.timeout.deadline, time.monotonic() + self.timeout
        try:
            addresses = resolve(self._dns_host, self.port, self.lookups, deadline, end)
            sock = connect(addresses, deadline, end, self.socket_options or ())
            if self.is_watched:
                self._watchdog = Watchdog(sock, deadline, end)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except UnicodeError as error:
            raise LocationParseError(self.host) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no connection in time") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error  # type: ignore[arg-type]
        return sock

    def _tunnel(self) -> None:
        # An egress proxy may answer slowly, too. TLS then needs the socket itself.
        plain, self.sock = self.sock, DeadlineSocket(self.sock, self.timeout)
        super()._tunnel()  # type: ignore[misc]
        self.sock = plain


class _Connection(_BaseConnection, HTTPConnection):  # type: ignore[misc]
    @property
    def is_connected(self) -> bool:
        # urllib3 asks `select` about each connection it takes from the pool, which costs a tenth of
        # a millisecond under gevent. Peeking into the socket costs a system call.
        return self.sock is not None and self.sock.is_idle()


class _TlsConnection(_BaseConnection, HTTPSConnection):  # type: ignore[misc]
    is_watched = True

    def _check_connected(self) -> None:
        if self.sock.version() is None:  # Python gives TLS back unagreed where the socket has ended
            self.close()
            raise NewConnectionError(self, "TLS was not agreed on")

    @property
    def is_connected(self) -> bool:
        return self.sock is not None and not self.sock.holds_bytes() and super().is_connected


class _BasePool:
    """Returns a kept connection, or a new one where that is asked for; the base of both pools."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lookups = NativeThreads(MAX_LOOKUPS)

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        connection.lookups = self._lookups
        return connection

    def urlopen(self, *args: Any, **options: Any) -> Any:
        if getattr(options["timeout"].connect_timeout, "new_connection", False):
            options["pool_timeout"] = _NEW  # the one option that reaches `_get_conn`
        return super().urlopen(*args, **options)  # type: ignore[misc]

    def _get_conn(self, timeout: Any = None) -> Any:
        if timeout is not _NEW:
            return super()._get_conn(timeout)  # type: ignore[misc]
        connection = super()._get_conn(None)  # type: ignore[misc]
        connection.close()  # it connects anew, through its egress proxy where there is one
        return connection


class Pool(_BasePool, HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]  # its `request` takes less


class TlsPool(_BasePool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection  # type: ignore[assignment]


def _head(method: str, url: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request. Raises `Unsendable`."""
    lines = [f"{method} {url} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    text = "\r\n".join(lines)
    if text.count("\n") != len(headers) or not _REQUEST.fullmatch(text):
        raise Unsendable("a header of the request, or its path, has a character that none may have")
    return (text + "\r\n\r\n").encode("latin-1")
