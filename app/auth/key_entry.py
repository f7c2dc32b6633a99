"""A key of the database table as a value, and its conversion from and to a row.

A row that cannot be read is skipped, and the log names it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.auth.authenticator import caller_of
from app.concurrency.yielding import iterate_with_yields
from app.config import KeySettings
from app.database.tables import keys
from app.domain import Caller

_log = logging.getLogger("app.auth")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key of the table. Times in seconds since 1970."""

    name: str
    sha256: str = ""  # empty in a new key: `KeyTable.new` makes it
    models: tuple[str, ...] = ("*",)
    admin: bool = False
    limits: tuple[tuple[str, Any], ...] = ()  # `KEY_OPTIONS`, as in KEYS; tiers as a list
    networks: tuple[str, ...] = ()
    created: int = 0
    expires: int | None = None
    revoked: int | None = None

    def caller(self) -> Caller:
        """Return the key's owner, with what the key permits."""
        models = None if "*" in self.models else frozenset(self.models)
        limits: dict[str, Any] = dict(self.limits)
        return caller_of(KeySettings(self.name, self.sha256, models, self.admin, **limits))

    def state(self, now: float) -> str:
        """Return "active", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    def age_order(self) -> tuple[int, float]:
        """Return what the newest key of a name has the greatest of.

        Of several made in the same second it is the one that expires last, as a rotation shortens
        the life of the others.
        """
        return self.created, math.inf if self.expires is None else self.expires


def columns_of(entry: KeyEntry) -> dict[str, Any]:
    """Return an entry as column → value of the table."""
    values = {name: getattr(entry, name) for name in KeyEntry.__slots__}
    lists = {name: list(values[name]) for name in ("models", "networks")}
    return {**values, **lists, "limits": dict(entry.limits)}


def is_json(column: sa.Column[Any]) -> bool:
    """Return whether a column holds JSON."""
    return isinstance(column.type, sa.JSON)


#: The columns that hold JSON.
_JSON = tuple(column.name for column in keys.c if is_json(column))


def entries_of(rows: Iterable[dict[str, Any]]) -> list[KeyEntry]:
    """Read the rows, and skip those that cannot be read.

    Another version of the proxy, or an operator's own SQL, may have written such a row.
    """
    found = []
    for row in iterate_with_yields(rows):
        try:
            found.append(_entry(row))
        except Exception as error:  # one bad row must not disable the other keys
            log_skipped(row.get("name"), error)
    return found


def _entry(row: dict[str, Any]) -> KeyEntry:
    row |= {name: json.loads(row[name]) for name in _JSON if isinstance(row[name], str)}
    row |= {name: tuple(row[name]) for name in ("models", "networks")}
    for name in ("created", "expires", "revoked"):  # SQLite takes any type
        if not isinstance(row[name], int | float | None):
            raise TypeError(f"{name} is no number of seconds")
    return KeyEntry(**row | {"limits": tuple(dict(row["limits"]).items())})


def log_skipped(name: object, error: Exception) -> None:
    """Log which row is skipped, and why."""
    _log.error("the key %.100r in the table is skipped: %s: %s", name, type(error).__name__, error)
