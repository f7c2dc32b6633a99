"""A client of a Redis or Valkey that never outlasts the time its caller has for it.

``redis://``, ``rediss://`` (TLS), ``unix://``, and for many servers
``redis+sentinel://host:port,host:port/service/db`` and ``redis+cluster://host:port,host:port``
(``rediss+…`` with TLS); ``valkey`` may stand for ``redis``. User and password go before the ``@``,
what else redis-py's URLs know after a ``?``.

redis-py's own timeouts are for one read: an answer that drips is within them for ever. So its
sockets are wrapped here, and every wait ends with the `Budget` of the calling thread.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis import (
    Connection,
    ConnectionPool,
    Redis,
    RedisCluster,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

#: Either client; redis-py types their commands as sync-or-async, which helps nobody.
Client = Any

_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Budget(threading.local):
    """Until when the calling thread (under gevent: greenlet) may wait, on the monotonic clock."""

    until = math.inf

    @contextlib.contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """The time for all that is done inside."""
        self.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self.until = math.inf

    def left(self, at_most: float | None) -> float | None:
        """Seconds that a wait may take; None for ever."""
        if self.until == math.inf:
            return at_most
        left = max(self.until - time.monotonic(), 0.0)
        return left if at_most is None else min(left, at_most)


budget = Budget()


class _Socket:
    """A connected socket whose waits end with the budget."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._timeout: float | None = sock.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        data: bytes = self._wait(self._sock.recv, size)
        return data

    def recv_into(self, buffer: Any) -> int:
        length: int = self._wait(self._sock.recv_into, buffer)
        return length

    def sendall(self, data: bytes) -> None:
        # A millisecond at least: what the kernel has room for leaves in any case.
        self._sock.settimeout(max(budget.left(self._timeout) or 0, 0.001))
        self._sock.sendall(data)

    def _wait(self, read: Any, what: Any) -> Any:
        seconds = budget.left(self._timeout)
        if seconds != 0:
            self._sock.settimeout(seconds)
            try:
                return read(what)
            except TimeoutError:
                pass
        # Once more without waiting: where the thread came late, the answer may not have.
        self._sock.settimeout(0)
        try:
            return read(what)
        except _NOT_YET:
            if self._timeout == 0:
                raise  # redis-py asks whether anything is there
            raise TimeoutError("timed out") from None


class _Tcp(Connection):
    """Connects within the budget, to addresses that need not be looked up in it."""

    #: Addresses by host and port. A look-up cannot be cut short, so callers with a budget use the
    #: last one; those without (they are not waited for) look up anew.
    _known: dict[tuple[str, int], list[Any]] = {}  # noqa: RUF012

    def _connect(self) -> Any:
        where = (self.host, self.port)
        if budget.until == math.inf or where not in self._known:
            self._known[where] = socket.getaddrinfo(*where, 0, socket.SOCK_STREAM)
        error: OSError = OSError("no address")
        for family, kind, protocol, _, address in self._known[where]:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                seconds = budget.left(self.socket_connect_timeout)
                sock.settimeout(max(seconds, 0.001) if seconds is not None else None)
                sock.connect(address)
                return sock
            except OSError as failed:
                sock.close()
                error = failed
        raise error


class _Wrapped:
    """What a connection gets to read from and write to."""

    def _connect(self) -> Any:
        sock = super()._connect()  # type: ignore[misc]
        sock.settimeout(self.socket_timeout)  # type: ignore[attr-defined]
        return _Socket(sock)


class _Plain(_Wrapped, _Tcp):
    pass


class _Tls(_Wrapped, SSLConnection, _Tcp):
    pass


class _Unix(_Wrapped, UnixDomainSocketConnection):
    pass


class _Master(_Wrapped, SentinelManagedConnection, _Tcp):
    pass


class _TlsMaster(_Wrapped, SentinelManagedSSLConnection, _Tcp):
    pass


def connect(url: str, timeout: float) -> Client:
    """A client. ``timeout`` in seconds, for a connect or one read, where no budget is shorter.

    Nothing is retried: whoever asks has no time for it. Only a cluster is asked for its slots.
    """
    scheme, _, variant = _normal(url).scheme.partition("+")
    options = _options(url)
    options |= {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": 1000,  # of one worker: more than it has requests at a time
        "driver_info": None,  # no CLIENT SETINFO with every connection
    }
    tls = scheme == "rediss"
    if variant == "cluster":
        for name in ("db", "driver_info"):
            options.pop(name, None)
        nodes = [ClusterNode(*where) for where in _hosts(url)]  # type: ignore[no-untyped-call]
        options["connection_class"] = _Tls if tls else _Plain
        # Only with a URL does it let its connections' class be chosen.
        first = f"redis://{nodes[0].host}:{nodes[0].port}"
        return RedisCluster(url=first, startup_nodes=nodes[1:], **options)
    if variant == "sentinel":
        service, _, db = _normal(url).path.strip("/").partition("/")
        names = ("socket_timeout", "socket_connect_timeout", "retry", "protocol")
        plain = {name: options[name] for name in names}  # sentinels have no TLS and no password
        sentinels = Sentinel([])  # type: ignore[no-untyped-call]
        sentinels.sentinels = [
            Redis(connection_pool=ConnectionPool(_Plain, host=host, port=port, **plain))
            for host, port in _hosts(url)
        ]
        options |= {"db": int(db or 0), "connection_class": _TlsMaster if tls else _Master}
        pool = SentinelConnectionPool(service or "mymaster", sentinels, **options)  # type: ignore[no-untyped-call]
        return Redis(connection_pool=pool)
    options["connection_class"] = _Unix if scheme == "unix" else _Tls if tls else _Plain
    return Redis(connection_pool=ConnectionPool(**options))


def shown(url: str) -> str:
    """A URL without its secrets, for logs and reports."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _normal(url: str) -> Any:
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkey", "redis")
    return parts._replace(scheme="unix" if scheme == "redis+unix" else scheme)


def _options(url: str) -> dict[str, Any]:
    """What redis-py reads from a URL of one server, which ours is but for its hosts and scheme."""
    parts = _normal(url)
    scheme, _, variant = parts.scheme.partition("+")
    if variant:
        who = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        parts = parts._replace(netloc=f"{who}host", path="")
    plain = (
        f"{scheme}://{parts.netloc}{parts.path}?{parts.query}"  # urlunsplit drops unix's slashes
    )
    options: dict[str, Any] = parse_url(plain)  # type: ignore[no-untyped-call]
    if variant:
        del options["host"]
    return options


def _hosts(url: str) -> list[tuple[str, int]]:
    hosts = []
    for location in _normal(url).netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{location}")
        hosts.append((parts.hostname or "localhost", parts.port or 6379))
    return hosts
