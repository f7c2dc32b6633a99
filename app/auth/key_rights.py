"""Parses and checks the rights of a key as an operator gives them, in commands and in pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

from app.config import Settings, unknown
from app.config.messages import messages
from app.config.sections.keys import KEY_QUEUEING
from app.config.sections.services import LimitsOfKeySchema

if TYPE_CHECKING:
    from app.auth.key_entry import KeyEntry
    from app.auth.key_table import KeyTable

#: Given as a limit: remove it.
NONE = "none"


def new_entry(
    settings: Settings,
    name: str,
    *,
    models: Sequence[str] = (),
    admin: bool = False,
    limits: Iterable[str] = (),
    networks: Sequence[str] = (),
    expires: int | None = None,
) -> KeyEntry:
    """Return the row of a new key, for `KeyTable.new`; no models means all. Raises ValueError."""
    from app.auth.key_entry import KeyEntry  # needs the package sqlalchemy, as the table does

    if name in settings.keys:
        raise ValueError(f"there is a key {name!r} in KEYS: choose another name")
    check_models(models, settings.models)
    given = tuple((n, v) for n, v in limits_of(limits).items() if v is not None)
    entry = KeyEntry(name, models=tuple(models) or ("*",), admin=admin, networks=tuple(networks))
    return replace(entry, limits=given, expires=expires)


def check_exists(name: str, settings: Settings, table: KeyTable) -> None:
    """Raise ValueError for a name that no key has; any caller of a token may be named."""
    if name in settings.keys or (name.startswith("oidc:") and settings.oidc is not None):
        return
    names = {entry.name for entry in table.read()[1]}
    if name not in names:
        known = sorted({*settings.keys, *names})
        raise ValueError(unknown("key", name, known, "KEYS or the table of keys"))


def limits_of(given: Iterable[str]) -> dict[str, Any]:
    """Parse limits like ``requests_per_minute=600`` or ``service_tier=flex``, checked as in KEYS.

    Returns values that JSON can hold; None for a limit to remove. Raises ValueError.
    """
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
    names = list(known)
    for model in given:
        if model not in ("*", *names):
            raise ValueError(unknown("model", model, [*names, "*"], "MODELS"))
