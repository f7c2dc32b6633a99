"""Parses the options of ``flask --app wsgi key …`` that set the rights of a key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from app.cli.parameters import Duration

if TYPE_CHECKING:
    from app.auth.key_table import Expiry

#: Option values that remove a limit, and the expiry of a key.
NONE, NEVER = "none", "never"


class ExpiryOption(Duration):
    """When a key expires: ``90d`` or ``12h`` from now, or ``never``, which is ``""`` here."""

    name = "duration|never"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return "" if value == NEVER else super().convert(value, param, ctx)


def end_of(given: float | str) -> int | None:
    """Return the expiry of an `ExpiryOption` in seconds since 1970; None: never."""
    return None if isinstance(given, str) else int(time.time() + given)


def expiry_of(given: float | str | None) -> Expiry:
    """Return the expiry of an `ExpiryOption`, or `UNCHANGED` if the option was not given."""
    from app.auth.key_table import UNCHANGED

    return UNCHANGED if given is None else end_of(given)


def limits_of(given: Iterable[str]) -> dict[str, Any]:
    """Parse limits like ``requests_per_minute=600`` or ``service_tier=flex``, checked as in KEYS.

    Returns values that JSON can hold; None for a limit to remove. Raises ValueError.
    """
    from app.config.keys import KEY_QUEUEING
    from app.config.messages import messages
    from app.config.services import LimitsOfKeySchema

    pairs = [limit.partition("=") for limit in given]
    values = {name: _value(name, text) for name, _, text in pairs}
    # In KEYS these are never None: a key that has none of them gets their default.
    removed = {name: None for name in KEY_QUEUEING if values.get(name, "") is None}
    try:
        loaded: dict[str, Any] = LimitsOfKeySchema().load(
            {name: value for name, value in values.items() if name not in removed}
        )
    except ValidationError as error:
        raise ValueError("\n".join(messages(error.normalized_messages()))) from error
    if "service_tiers" in loaded:
        loaded["service_tiers"] = sorted(loaded["service_tiers"])
    return loaded | removed


def changed_limits(before: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """Return the limits of a key after these changes; ``requests_per_minute=none`` removes one.

    Raises ValueError.
    """
    loaded = {name: value for name, value in limits_of(given).items() if value is not None}
    removed = {limit.partition("=")[0] for limit in given} - loaded.keys()
    return {name: value for name, value in before.items() if name not in removed} | loaded


def _value(name: str, text: str) -> Any:
    if text == NONE:
        return None
    if name == "service_tiers":
        return [tier for tier in text.split(",") if tier]
    if name == "fair_users":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def check_models(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError for a model that is not configured."""
    from app.config import unknown

    names = list(known)
    for model in given:
        if model not in ("*", *names):
            raise ValueError(unknown("model", model, [*names, "*"], "MODELS"))
