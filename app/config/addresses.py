"""Addresses in the settings: of HTTP servers, networks, Redis or Valkey, and databases."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError, fields

from app.config.messages import needs_package

SQLITE = "sqlite:///"
#: Schemes of a Redis or Valkey.
_STORES = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
)


def address(value: str) -> None:
    """Refuse what is no address of an HTTP server."""
    _check_blanks(value)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that stands alone, a port that is none
        good = False
    if not good:
        raise ValidationError("must be an http:// or https:// address")
    _check_path(parts)


def https_address(value: str) -> None:
    """Refuse what is no address of an HTTPS server; on this host, HTTP is enough."""
    _check_blanks(value)
    try:
        parts = urlsplit(value)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is no number
        raise ValidationError("must be an https:// address with a number as its port") from error
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not is_address or parts.scheme not in (("https", "http") if local else ("https",)):
        raise ValidationError("must be an https:// address: over http its keys could be changed")
    _check_path(parts)


def _check_blanks(value: str) -> None:
    """Refuse the line end of a file, for instance: `urlsplit` drops it, and no request has it."""
    if not value.isprintable() or " " in value:
        raise ValidationError("must not have a space, a line break or another control character")


def _check_path(parts: SplitResult) -> None:
    """Refuse a path or a query that a request cannot have as it is."""
    if not (parts.path + parts.query).isascii():
        raise ValidationError("must be ASCII after the host: escape the others (%C3%B6 for ö)")


def network(value: str) -> None:
    """Refuse what is no network."""
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValidationError("must be a network, for instance '10.0.0.0/8'") from error


def network_or_any(value: str) -> None:
    """Refuse what is neither an address nor a network nor ``*``."""
    try:
        ipaddress.ip_network("0.0.0.0/0" if value == "*" else value)
    except ValueError as error:
        raise ValidationError("must be an address, a network (10.0.0.0/8) or '*'") from error


class Store(fields.String):
    """The address of a Redis or Valkey: `app.redis.connect` says which there are."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url: str = super()._deserialize(value, *args, **kwargs)
        if not _is_store(url):
            raise ValidationError(
                "must be redis://host:port/db, rediss://… (TLS), unix:///path, "
                "redis+sentinel://host:port,host:port/service or redis+cluster://host:port"
            )
        if find_spec("redis") is None:
            raise ValidationError(needs_package("redis", "redis"))
        return url


def _is_store(url: str) -> bool:
    """Whether it is the address of a server, or of several with commas between them."""
    try:
        parts = urlsplit(url.replace("valkey", "redis", 1))
        servers = parts.netloc.rpartition("@")[2]
        for server in servers.split(","):
            _ = urlsplit(f"//{server}").port
    except ValueError:  # a bracket that stands alone, a port that is none
        return False
    return parts.scheme in _STORES and bool(parts.path if "unix" in parts.scheme else servers)


def database_url(value: str) -> str:
    """The address in SQLAlchemy's words. Raises `ValidationError`."""
    if not value.isprintable():
        raise ValidationError("must not have a line break or another control character")
    if value.startswith("postgresql://"):
        value = value.replace("postgresql://", "postgresql+psycopg://", 1)
    needed = {SQLITE: ["sqlalchemy", "alembic"]}
    needed["postgresql+psycopg://"] = [*needed[SQLITE], "psycopg"]
    for start, packages in needed.items():
        if value.startswith(start) and value != start and ":memory:" not in value:
            for package in packages:
                if find_spec(package) is None:
                    extra = "postgresql" if package == "psycopg" else "usage"
                    raise ValidationError(needs_package(package, extra))
            return _readable(value)
    raise ValidationError(
        "must be sqlite:///path/of/a/file (four slashes for an absolute path) or "
        "postgresql+psycopg://user:password@host/database"
    )


def _readable(url: str) -> str:
    try:
        _ = urlsplit(url).port
    except ValueError as error:  # which may repeat the password
        raise ValidationError(
            "cannot be read as an address: the port must be a number, and special characters of "
            "the password must be escaped (%40 for @)"
        ) from error
    return url
