"""Declare a setting once: what it takes, its default, its unit and its reason.

A setting is a field of a frozen dataclass whose metadata holds a `Declared`. The schema that checks
settings (`app.config.schema`) and their documentation (`app.config.documentation`) are made of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, validate

from app.config import addresses
from app.config import fields as own

#: The default of a setting that must be set.
REQUIRED: Any = dataclasses.MISSING
#: Bounds of a `proportion`. Sums and products of smaller or larger ones, some with the tokens of
#: calls, are 0, infinite, or equal by rounding: one key or deployment would get all.
MIN_PROPORTION, MAX_PROPORTION = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration of a setting, beside its name and its default."""

    check: fields.Field[Any]  # checks and converts what is in a settings file
    values: str  # what it takes, in words
    reason: str  # what it is for
    shown: str | None  # the default in words, where its literal says less
    name: str | None  # in a settings file, where it is not that of the field


def setting(
    check: fields.Field[Any],
    default: Any,
    values: str,
    reason: str,
    *,
    none: bool | None = None,
    secret: bool = False,
    shown: str | None = None,
    name: str | None = None,
) -> Any:
    """A field of a dataclass that is a setting.

    ``default`` may be a function that makes it. ``none``: whether None is taken; unless said, it is
    where None is the default. ``secret`` keeps the value out of every repr.
    """
    check.required = default is REQUIRED
    check.allow_none = default is None if none is None else none
    check.data_key = name
    made: dict[str, Any] = {"default_factory" if callable(default) else "default": default}
    declared = Declared(check, values, reason, shown, name)
    return dataclasses.field(**made, repr=not secret, metadata={"declared": declared})


def declared(settings: type) -> Mapping[str, Declared]:
    """The settings that a dataclass declares, by the names of its fields."""
    found = {f.name: f.metadata.get("declared") for f in dataclasses.fields(settings)}
    return {name: setting for name, setting in found.items() if setting is not None}


def count(default: int | None, reason: str, **more: Any) -> Any:
    """A whole number of 1 or more."""
    check = fields.Integer(strict=True, validate=validate.Range(min=1))
    return setting(check, default, "whole number from 1", reason, **more)


def whole(default: int, low: int, high: int | None, reason: str) -> Any:
    """A whole number in a range, both ends included."""
    check = fields.Integer(strict=True, validate=validate.Range(min=low, max=high))
    upper = "" if high is None else f" to {high:,}"
    return setting(check, default, f"whole number from {low:,}{upper}", reason)


def number(default: float | None, low: float, high: float | None, reason: str, **more: Any) -> Any:
    """A number in a range, both ends included."""
    check = fields.Float(validate=validate.Range(min=low, max=high))
    upper = "" if high is None else f" to {high:,.15g}"
    return setting(check, default, f"number from {low:g}{upper}", reason, **more)


def positive(default: float | None, high: float | None, reason: str, unit: str = "number") -> Any:
    """A number over 0, up to ``high``."""
    check = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=high))
    upper = "" if high is None else f", up to {high:,.15g}"
    return setting(check, default, f"{unit} over 0{upper}", reason)


def proportion(reason: str) -> Any:
    """A number by which things are shared in proportion."""
    return number(1.0, MIN_PROPORTION, MAX_PROPORTION, reason)


def seconds(default: float, reason: str) -> Any:
    """A duration of up to an hour."""
    return positive(default, 3600, reason, "seconds")


def flag(default: bool, reason: str) -> Any:
    """True or False."""
    return setting(own.boolean(), default, "True or False", reason)


def choice(default: str, options: list[str], reason: str) -> Any:
    """One of a few words."""
    check = fields.String(validate=validate.OneOf(options))
    return setting(check, default, " or ".join(map(repr, options)), reason)


def text(default: Any, values: str, reason: str, **more: Any) -> Any:
    """A string that is not empty."""
    return setting(own.text(), default, values, reason, **more)


def address(default: Any, reason: str) -> Any:
    """The address of an HTTP server, which may hold a password."""
    check = fields.String(validate=addresses.address)
    return setting(check, default, "http:// or https:// address", reason, secret=True)


def namespace() -> Any:
    """Declare the setting ``namespace``, with which the keys in a Redis or Valkey begin."""
    values = "1 to 64 letters, digits, '.', '_', '-'"
    return setting(
        own.key_prefix(), "embeddings", values, "Prefix of its keys in the Redis or Valkey."
    )


def store(reason: str) -> Any:
    """The address of a Redis or Valkey, which may hold a password."""
    return setting(addresses.Store(), None, "address of a Redis or Valkey", reason, secret=True)
