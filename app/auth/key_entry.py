"""A key of the table as a value, and how it is read from its row and written to one.

A row that cannot be read is no key: it is skipped, and the log says which.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from marshmallow import ValidationError

from app.auth.keys import caller_of
from app.config import KeySettings
from app.config.fields import key_name, text
from app.database.tables import keys
from app.domain import Caller

_log = logging.getLogger("app.access")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of the table. Times in seconds since 1970."""

    name: str
    sha256: str = ""  # of a new one: still to be made
    models: tuple[str, ...] = ("*",)
    admin: bool = False
    limits: tuple[tuple[str, float], ...] = ()  # as in KEYS
    networks: tuple[str, ...] = ()
    created: int = 0
    expires: int | None = None
    revoked: int | None = None

    def caller(self) -> Caller:
        models = None if "*" in self.models else frozenset(self.models)
        limits: dict[str, Any] = dict(self.limits)
        return caller_of(KeySettings(self.name, self.sha256, models, self.admin, **limits))

    def state(self, now: float) -> str:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


def check_name(name: object) -> None:
    """Raise ValueError for what must not name a key: the rule is that of KEYS."""
    try:
        text(key_name).deserialize(name)
    except ValidationError as error:
        raise ValueError(f"the name {name!r:.100} {' '.join(error.messages)}") from error


def columns_of(entry: Entry) -> dict[str, Any]:
    """An entry as the table's columns."""
    values = {name: getattr(entry, name) for name in Entry.__slots__}
    lists = {name: list(values[name]) for name in ("models", "networks")}
    return {**values, **lists, "limits": dict(entry.limits)}


def is_json(column: sa.Column[Any]) -> bool:
    """Whether a column holds JSON."""
    return isinstance(column.type, sa.JSON)


def entries_of(rows: Iterable[dict[str, Any]]) -> list[Entry]:
    """Each row that can be read: another version of the proxy, or a hand, may have written it."""
    found = []
    for row in rows:
        try:
            found.append(_entry(row))
        except Exception as error:  # whatever is odd about it, the others are keys
            log_skipped(row.get("name"), error)
    return found


def _entry(row: dict[str, Any]) -> Entry:
    columns = {c.name for c in keys.c if is_json(c)}
    row |= {n: json.loads(row[n]) for n in columns if isinstance(row[n], str)}
    row |= {name: tuple(row[name]) for name in ("models", "networks")}
    return Entry(**row | {"limits": tuple(dict(row["limits"]).items())})


def log_skipped(name: object, error: Exception) -> None:
    """Say in the log which row is no key, and why."""
    _log.error("the key %.100r in the table is skipped: %s: %s", name, type(error).__name__, error)
