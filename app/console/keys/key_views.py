"""Keys as the page Keys shows them: of the database and of the settings, and their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.auth.key_entry import KeyEntry
from app.config import KeySettings
from app.config.sections.keys import KEY_LIMITS, KEY_OPTIONS
from app.console.keys.form import LIMIT_TITLES
from app.console.templating import datetime_of
from app.database import audit
from app.database.engine import Database
from app.domain import USUAL_TIERS

#: Seconds of a key's history that its page shows.
HISTORY_S = 400 * 86_400
#: Changes of a key that its page shows; the newest are shown.
MAX_CHANGES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key with what it permits, as texts. Times in seconds since 1970."""

    name: str
    state: str  # "active", "replaced" by a rotation, "expired", "revoked"; "settings": of KEYS
    sha256: str
    models: tuple[str, ...]
    admin: bool
    limits: tuple[tuple[str, str], ...]  # titles with amounts
    tier: str
    share: float
    networks: tuple[str, ...]
    created: int | None
    expires: int | None
    last_use: int | None = None
    is_blocked: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in ("expired", "revoked")

    def with_state(self, last_use: int | None, is_blocked: bool) -> KeyView:
        return replace(self, last_use=last_use, is_blocked=is_blocked)


def views_of(entries: Sequence[KeyEntry], now: float) -> list[KeyView]:
    """Return the keys of the table, grouped by name, the newest of each name first."""
    newest = {entry.name: entry for entry in sorted(entries, key=_order)}
    ordered = sorted(entries, key=lambda e: (e.name.lower(), e is not newest[e.name], -e.created))
    return [_view(entry, entry is newest[entry.name], now) for entry in ordered]


def _order(entry: KeyEntry) -> tuple[bool, int, float]:
    return (entry.revoked is None, *entry.age_order())


def _view(entry: KeyEntry, is_newest: bool, now: float) -> KeyView:
    state = entry.state(now)
    if state == "active" and not is_newest:
        state = "replaced"
    limits = dict(entry.limits)
    return KeyView(
        entry.name,
        state,
        entry.sha256,
        entry.models,
        entry.admin,
        limit_texts(limits),
        str(limits.get("service_tier", "default")),
        float(limits.get("share", 1.0)),
        entry.networks,
        entry.created,
        entry.expires,
    )


def view_of_settings(key: KeySettings) -> KeyView:
    """Return the view of a key of KEYS; when it was made is not known."""
    limits = {name: getattr(key, name) for name in KEY_OPTIONS}
    models = ("*",) if key.models is None else tuple(sorted(key.models))
    texts = limit_texts(limits)
    tier, share = key.service_tier, key.share
    shown = (key.name, "settings", key.sha256, models, key.admin, texts, tier, share)
    return KeyView(*shown, (), None, None)


def limit_texts(limits: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the limits that a key has, as (title, amount)."""
    found = [
        (LIMIT_TITLES[name], f"{limits[name]:,}")
        for name in KEY_LIMITS
        if limits.get(name) is not None
    ]
    if limits.get("fair_users"):
        found.append(("Share divided by end users", "evenly"))
    tiers = frozenset(limits.get("service_tiers") or ())
    if "service_tiers" in limits and tiers != USUAL_TIERS:
        found.append(("May ask for the tiers", ", ".join(sorted(tiers)) or "its own only"))
    return tuple(found)


def history_of(database: Database, name: str, now: float) -> list[dict[str, Any]]:
    """Return the newest changes of a key from the audit log, the newest first."""
    times = int((now - HISTORY_S) * 1000), int(now * 1000) + 60_000
    rows = database.run(lambda connection: audit.events(connection, *times, name))
    keys = [row for row in rows if row["action"].startswith("key.")]
    return [
        {**row, "time": row["time"] / 1000, "what": _what(row["action"], row["detail"])}
        for row in keys[: -MAX_CHANGES_SHOWN - 1 : -1]
    ]


def _what(action: str, detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a change as (name, value); the values of an edit are "before → after"."""
    if action == "key.edit":
        return [
            (name, " → ".join(_value_text(name, v) for v in both)) for name, both in detail.items()
        ]
    return [
        (name, _value_text(name, value))
        for name, value in detail.items()
        if value not in (None, "", [], {}, False)
    ]


def _value_text(name: str, value: Any) -> str:
    if name in ("expires", "until"):
        moment = None if value is None else datetime_of(value)
        return "never" if value is None else f"{moment:%Y-%m-%d %H:%M}" if moment else str(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_value_text(key, v)}" for key, v in value.items()) or "none"
    return str(value)
