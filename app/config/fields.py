"""The checks of single values that marshmallow does not have."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import ValidationError, fields, validate

#: Characters of the name of a vector space.
MAX_SPACE_LENGTH = 100
_SPACE = re.compile(rf"(?:(?!,)[!-~]){{1,{MAX_SPACE_LENGTH}}}")


class Named(fields.Dict):
    """Entries by name. Without the level that marshmallow puts between a name and its mistakes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]  # marshmallow's
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


class Tokenizer_(Path_):  # noqa: N801 - not app.tokens.tokenizers'
    """The name of a tiktoken encoding, or the path of a tokenizer.json."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if isinstance(value, str) and value.endswith(".json"):
            return super()._deserialize(value, *args, **kwargs)
        return fields.String._deserialize(self, value, *args, **kwargs)


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
    """Return the field of a ``namespace``, with which the keys in a Redis or Valkey begin."""
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


def space_id(value: str) -> None:
    """Refuse what must not name a vector space: answers and requests have it in a header.

    OpenAI's SDK for Python sends no other header than ASCII.
    """
    if _SPACE.fullmatch(value) is None:
        raise ValidationError(
            f"must be 1 to {MAX_SPACE_LENGTH} printable ASCII characters, without spaces and "
            "commas: the name is sent in a header"
        )


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

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        digest: str = super()._deserialize(*args, **kwargs)
        if not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise ValidationError(
                "must be the key's SHA-256 in hex (64 digits); `flask --app wsgi new-key NAME` "
                "prints one"
            )
        return digest.lower()


def headers() -> Named:
    """Headers by name, as they are sent."""
    name = validate.Regexp(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
    return Named(keys=fields.String(validate=name), values=fields.String(validate=header))


class Audience(fields.Field[Any]):
    """One name, or a list of those of which a token must hold one."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and names and all(n and isinstance(n, str) for n in names):
            return tuple(names)
        raise ValidationError("must be a name, or a list of names")


def webhook_secret(value: str) -> None:
    """Refuse what signs nothing safely: too short a secret, or ``whsec_`` without base64."""
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
