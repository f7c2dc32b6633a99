"""The checks of single values that marshmallow does not have."""

from __future__ import annotations

import ipaddress
from base64 import b64decode
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from marshmallow import ValidationError, fields, validate

from app.config.messages import needs_package


class Named(fields.Dict):
    """Entries by name. Without the level that marshmallow puts between a name and its mistakes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            found = {
                name: place.get("key") or place.get("value")
                for name, place in error.messages.items()
            }
            raise ValidationError(found) from error


class Path_(fields.String):  # noqa: N801 - not pathlib's
    """The path of a file that can be read."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        path: str = super()._deserialize(value, *args, **kwargs)
        if not Path(path).is_file():
            raise ValidationError(f"no file {path!r}")
        return path


class Tokenizer_(Path_):  # noqa: N801 - not app.tokenizers'
    """The name of a tiktoken encoding, or the path of a tokenizer.json."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if isinstance(value, str) and value.endswith(".json"):
            return super()._deserialize(value, *args, **kwargs)
        return fields.String._deserialize(self, value, *args, **kwargs)


def address(value: str) -> None:
    """Refuse what is no address of an HTTP server."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that stands alone, a port that is none
        good = False
    if not good:
        raise ValidationError("must be an http:// or https:// address")


def network_or_any(value: str) -> None:
    """Refuse what is neither an address nor a network nor ``*``."""
    try:
        ipaddress.ip_network("0.0.0.0/0" if value == "*" else value)
    except ValueError as error:
        raise ValidationError("must be an address, a network (10.0.0.0/8) or '*'") from error


def time_zone(value: str) -> None:
    """Refuse what names no time zone that this system knows."""
    try:
        if value != "UTC":
            ZoneInfo(value)
    except (ValueError, KeyError, OSError) as error:  # KeyError: ZoneInfoNotFoundError
        raise ValidationError(
            "must be a time zone such as 'Europe/Berlin' (where the system knows none: "
            "pip install tzdata)"
        ) from error


def header(value: str) -> None:
    """Refuse what must not stand in a header's value."""
    if not value.isprintable() or not value.isascii():
        raise ValidationError("must be printable ASCII: no line break, no other control character")


class Boolean(fields.Boolean):
    """True or False. marshmallow compares with ``==`` and takes 1 for True."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def boolean() -> fields.Boolean:
    """A setting that is True or False, also of a provider's kind."""
    return Boolean()


def text(also: Callable[[str], None] | None = None, **kwargs: Any) -> fields.String:
    """A string that is not empty, and that ``also`` does not refuse."""

    def not_empty(value: object) -> None:
        # Of a dictionary's key marshmallow validates what it could not make a string of.
        if not isinstance(value, str):
            raise ValidationError("must be a string")
        if not value:
            raise ValidationError("must not be empty")
        if also is not None:
            also(value)

    return fields.String(validate=not_empty, **kwargs)


class Matryoshka(fields.Field[Any]):
    """True, False, or the list of widths a vector may be cut to."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool | tuple[int, ...]:
        if isinstance(value, bool):
            return value
        if (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(w, int) and not isinstance(w, bool) and w > 0 for w in value)
        ):
            return tuple(value)
        raise ValidationError("must be True, False or a list of widths, for instance [256, 512]")


def key_prefix() -> fields.String:
    """What the keys of a Redis or Valkey begin with: its "namespace"."""
    return fields.String(
        validate=validate.Regexp(
            r"^[A-Za-z0-9._-]{1,64}\Z", error="must be 1 to 64 letters, digits, '.', '_' or '-'"
        )
    )


def key_name(value: str) -> None:
    """Refuse what must not name a key: in logs and the ledger, a name has to be one caller's."""
    _printable(value)
    if value.startswith("oidc:"):
        raise ValidationError("must not begin with 'oidc:': so the callers of OIDC are named")


def provider_name(value: str) -> None:
    """Refuse what must not name a provider: the name is a header's value (x-proxy-provider)."""
    _printable(value)
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValidationError(
            "must be Latin letters, digits and signs: the name is sent in a header"
        ) from error


def _printable(value: str) -> None:
    if not value.isprintable():
        raise ValidationError("must be printable: no line break, no other control character")


class Texts(fields.List[Any]):
    """A list of strings, not empty unless ``entry`` checks them otherwise, as a frozenset."""

    def __init__(self, entry: fields.String | None = None, **kwargs: Any) -> None:
        super().__init__(entry or text(), **kwargs)

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return frozenset(super()._deserialize(*args, **kwargs))


class Tuple(fields.List[Any]):
    """A list, as a tuple."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(*args, **kwargs))


class ModelNames(Texts):
    """Names of models; None where ``"*"``, every model, is among them."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        names = super()._deserialize(*args, **kwargs)
        if not names:
            raise ValidationError("must not be empty")
        return None if "*" in names else names


class Digest(fields.String):
    """The SHA-256 of a key in hex, in lower case."""

    def __init__(self) -> None:
        error = (
            "must be the key's SHA-256 in hex (64 digits); `flask --app wsgi new-key NAME` "
            "prints one"
        )
        super().__init__(validate=validate.Regexp(r"^[0-9a-fA-F]{64}\Z", error=error))

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return str(super()._deserialize(*args, **kwargs)).lower()


def headers() -> Named:
    """Headers by name, as they are sent."""
    name = validate.Regexp(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
    return Named(keys=fields.String(validate=name), values=fields.String(validate=header))


class Store(fields.String):
    """The address of a Redis or Valkey: `app.redis.connect` says which there are."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url: str = super()._deserialize(value, *args, **kwargs)
        parts = urlsplit(url.replace("valkey", "redis", 1))
        host = parts.path if "unix" in parts.scheme else parts.netloc.rpartition("@")[2]
        if parts.scheme not in _STORES or not host or not _ports_are_numbers(parts.netloc):
            raise ValidationError(
                "must be redis://host:port/db, rediss://… (TLS), unix:///path, "
                "redis+sentinel://host:port,host:port/service or redis+cluster://host:port"
            )
        if find_spec("redis") is None:
            raise ValidationError(needs_package("redis", "redis"))
        return url


def _ports_are_numbers(netloc: str) -> bool:
    """Of a server, or of several with commas between them."""
    try:
        for server in netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{server}").port
    except ValueError:
        return False
    return True


_STORES = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
)


def https_address(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is no number
        raise ValidationError("must be an https:// address with a number as its port") from error
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not is_address or parts.scheme not in (("https", "http") if local else ("https",)):
        raise ValidationError("must be an https:// address: whoever can change it can sign tokens")


class Audience(fields.Field[Any]):
    """One name, or a list of those of which a token must hold one."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and names and all(n and isinstance(n, str) for n in names):
            return tuple(names)
        raise ValidationError("must be a name, or a list of names")


def webhook_secret(value: str) -> None:
    if value.startswith("whsec_"):
        try:
            b64decode(value.removeprefix("whsec_"), validate=True)
        except ValueError as error:
            raise ValidationError("must be base64 after 'whsec_'") from error
    if len(value) < 16:
        raise ValidationError(
            "must have 16 characters or more: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))' prints some"
        )


def network(value: str) -> None:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValidationError("must be a network, for instance '10.0.0.0/8'") from error
