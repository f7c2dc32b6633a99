"""The fields that the schemas of the settings are made of."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from marshmallow import RAISE, Schema, ValidationError, fields, validate


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


class Strict(Schema):
    """A dictionary whose unknown keys are mistakes that say which key was probably meant."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "unknown setting", "type": "must be a dictionary"}  # noqa: RUF012 - theirs
    #: What else to say where no known name is close.
    unknown_hint = ""

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        known = [field.data_key or name for name, field in self.fields.items()]
        for name, found in error.normalized_messages().items():
            if found == ["unknown setting"]:
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                found[0] = f"unknown setting ({hint}{'' if close else self.unknown_hint})"


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


def seconds(**kwargs: Any) -> fields.Float:
    """A time over 0 and up to an hour."""
    return fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=3600), **kwargs)


def count(**kwargs: Any) -> fields.Integer:
    """A whole number of 1 or more."""
    return fields.Integer(strict=True, validate=validate.Range(min=1), **kwargs)


def number_in(low: float, high: float) -> fields.Float:
    """A number in a range, both ends included."""
    return fields.Float(validate=validate.Range(min=low, max=high))


def whole_in(low: float, high: float) -> fields.Integer:
    """A whole number in a range, both ends included."""
    return fields.Integer(strict=True, validate=validate.Range(min=low, max=high))


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

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool | list[int]:
        if isinstance(value, bool):
            return value
        if (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(w, int) and not isinstance(w, bool) and w > 0 for w in value)
        ):
            return list(value)
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


def named(
    nested: fields.Field[Any], valid: Callable[[str], None] | None = None, **kwargs: Any
) -> fields.Dict:
    """Entries of one kind by name; ``valid`` raises `ValidationError` for a name."""
    return Named(keys=text(valid), values=nested, **kwargs)
