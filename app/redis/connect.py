"""Makes redis-py's clients from addresses.

``redis://``, ``rediss://`` (TLS), ``unix://``, and for many servers
``redis+sentinel://host:port,host:port/service/db`` and ``redis+cluster://host:port,host:port``
(``rediss+…`` with TLS); ``valkey`` may stand for ``redis``. User and password go before the ``@``,
what else redis-py's URLs know after a ``?``.
"""

from __future__ import annotations

import re
from inspect import signature
from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis import ConnectionPool, Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import REDIS_ALLOWED_KEYS, ClusterNode
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

#: What may stand for the path of an address, by its scheme.
_DATABASES = {
    "redis": re.compile(r"/*[0-9]*/*"),
    "unix": re.compile(r".*"),
    "sentinel": re.compile(r"/*[^/]*(?:/[0-9]*)?/*"),
    "cluster": re.compile(r"/*0?/*"),  # a cluster has no other
}
#: `Redis` or `RedisCluster`: redis-py types the results of their commands as sync or async, which
#: every use would have to take apart.
Client = Any

#: Connections of one worker to one server: more than it has requests at a time.
MAX_CONNECTIONS = 1000


def connect(url: str, timeout_s: float) -> Client:
    """Make a client. ``timeout_s`` bounds each connect and each read by itself, not a whole call.

    Nothing is retried: a caller has no time for that. A cluster is asked for its slots here; other
    clients connect at their first command.
    """
    parts = _normal(url)
    scheme, _, variant = parts.scheme.partition("+")
    timeouts: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    options = _options(parts) | timeouts
    options |= {
        "max_connections": MAX_CONNECTIONS,
        "socket_keepalive": True,
        "driver_info": None,  # no CLIENT SETINFO with every connection
    }
    if scheme == "unix":
        del options["socket_keepalive"]
    if not variant:
        return Redis.from_pool(ConnectionPool(**options))
    options["ssl"] = scheme == "rediss"
    if variant == "cluster":
        nodes = [ClusterNode(*host) for host in _hosts(parts)]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **options)
    service, _, database = parts.path.strip("/").partition("/")
    # Sentinels have no TLS and no password here.
    sentinel = Sentinel(_hosts(parts), sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]
    options["db"] = int(database or 0)
    return sentinel.master_for(service or "mymaster", **options)  # type: ignore[no-untyped-call]


def check_address(url: str) -> None:
    """Raise ValueError for an address that `connect` cannot use; opens no connection.

    The message holds no value of the address, which may be a secret.
    """
    parts = _normal(url)
    scheme, _, variant = parts.scheme.partition("+")
    database = _DATABASES.get(variant or scheme, _DATABASES["redis"])
    if not database.fullmatch(parts.path):
        raise ValueError("its path is no database: a number, or none or 0 for a cluster")
    try:
        if variant == "cluster":  # its client connects at once, and drops what it does not know
            known_names = {*REDIS_ALLOWED_KEYS, *signature(RedisCluster).parameters}
            for name in _options(parts).keys() - known_names:
                raise ValueError(f"redis-py knows no option '{name}'")
        else:
            connect(url, 1.0).connection_pool.make_connection()
    except TypeError as error:
        known = re.search(r"unexpected keyword argument ('\w+')", str(error))
        what = (
            f"redis-py knows no option {known[1]}" if known else "redis-py cannot use its options"
        )
        raise ValueError(what) from error
    except RedisError as error:
        raise ValueError("redis-py cannot use its options") from error


def close(client: Client) -> None:
    """Close all connections of a client, also those that a call is waiting on, which then fails."""
    if isinstance(client, RedisCluster):
        client.disconnect_connection_pools()  # type: ignore[no-untyped-call]
    else:
        client.connection_pool.disconnect(inuse_connections=True)


def without_secrets(url: str) -> str:
    """Return an address as logs and reports may show it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _normal(url: str) -> SplitResult:
    """Return the parts of an address, with ``redis`` for ``valkey``."""
    parts = urlsplit(url)
    scheme = parts.scheme.replace("valkey", "redis")
    return parts._replace(scheme="unix" if scheme == "redis+unix" else scheme)


def _options(parts: SplitResult) -> dict[str, Any]:
    """Return what redis-py reads from an address; of many servers, all but the hosts."""
    scheme, _, variant = parts.scheme.partition("+")
    if variant:
        user, at, _ = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user}{at}host", path="")
        scheme = "redis"
    # `SplitResult.geturl` drops the slashes of unix's.
    plain = f"{scheme}://{parts.netloc}{parts.path}?{parts.query}"
    options: dict[str, Any] = parse_url(plain)  # type: ignore[no-untyped-call]
    if variant:
        for name in ("host", "db"):
            options.pop(name, None)
    return options


def _hosts(parts: SplitResult) -> list[tuple[str, int]]:
    hosts = []
    for location in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{location}")
        hosts.append((host.hostname or "localhost", host.port or 6379))
    return hosts
