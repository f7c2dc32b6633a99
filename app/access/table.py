"""Keys in the database of the ledger, beside those of the settings; see `app.access.table_keys`.

A row that cannot be read is no key: it is skipped, and the log says which.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.access.keys import caller_of, new_key
from app.config import KeySettings
from app.domain import Caller
from app.usage.database import Database
from app.usage.tables import keys, keys_version

_log = logging.getLogger("app.access")
T = TypeVar("T")

_c = keys.c


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


class KeyTable:
    """What the database says of keys; each change counts the version up in its transaction."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._run = database.run
        self._clock = clock

    def version(self) -> int:
        return self._run(_version)

    def read(self) -> tuple[int, list[Entry]]:
        """The version, and every key there ever was, as of one moment or a later version's."""
        return self._run(lambda c: (_version(c), _select(c)))

    def new(self, entry: Entry) -> str:
        """Add a key; the key itself, which nobody will know again. Raises ValueError."""

        def add(connection: Connection) -> str:
            if self._active(connection, entry.name):
                raise ValueError(f"there is a key {entry.name!r}: revoke or rotate it")
            return self._insert(connection, entry)

        return self._change(add)

    def revoke(self, name: str) -> int:
        """End all keys of a name; how many there were."""

        def end(connection: Connection) -> int:
            known = sa.and_(_c.name == name, _c.revoked.is_(None))
            statement = sa.update(keys).where(known).values(revoked=int(self._clock()))
            return connection.execute(statement).rowcount

        return self._change(end)

    def rotate(self, name: str, grace: float) -> str:
        """A new key in the place of one; the old goes on for ``grace`` seconds.

        Raises ValueError.
        """

        def change(connection: Connection) -> str:
            active = self._active(connection, name)
            if not active:
                raise ValueError(f"there is no active key {name!r}")
            end = int(self._clock() + grace)
            old = sa.and_(_c.name == name, _c.sha256.in_([entry.sha256 for entry in active]))
            later = sa.or_(_c.expires.is_(None), _c.expires > end)
            connection.execute(sa.update(keys).where(old, later).values(expires=end))
            return self._insert(connection, max(active, key=lambda entry: entry.created))

        return self._change(change)

    def _change(self, change: Callable[[Connection], T]) -> T:
        def run(connection: Connection) -> T:
            # First, so that two who change do it one after the other.
            counted = sa.update(keys_version).values(version=keys_version.c.version + 1)
            connection.execute(counted)
            return change(connection)

        return self._run(run)

    def _active(self, connection: Connection, name: str) -> list[Entry]:
        now = self._clock()
        return [e for e in _select(connection, _c.name == name) if e.state(now) == "active"]

    def _insert(self, connection: Connection, entry: Entry) -> str:
        key, digest = new_key()
        values = {name: getattr(entry, name) for name in Entry.__slots__}
        for name in ("models", "networks"):
            values[name] = list(values[name])
        values |= {"sha256": digest, "limits": dict(entry.limits), "created": int(self._clock())}
        connection.execute(sa.insert(keys).values(values))
        return key


def _version(connection: Connection) -> int:
    return int(connection.execute(sa.select(keys_version.c.version)).scalar_one())


def _select(connection: Connection, *where: sa.ColumnElement[bool]) -> list[Entry]:
    # JSON as text, to be read here: by the driver, one odd row would fail all.
    columns = [sa.cast(c, sa.Text).label(c.name) if _is_json(c) else c for c in keys.c]
    rows = connection.execute(sa.select(*columns).where(*where).order_by(_c.created, _c.name))
    return entries_of(dict(row) for row in rows.mappings())


def _is_json(column: sa.Column[Any]) -> bool:
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
    columns = {c.name for c in keys.c if _is_json(c)}
    row |= {n: json.loads(row[n]) for n in columns if isinstance(row[n], str)}
    row |= {name: tuple(row[name]) for name in ("models", "networks")}
    return Entry(**row | {"limits": tuple(dict(row["limits"]).items())})


def log_skipped(name: object, error: Exception) -> None:
    _log.error("the key %.100r in the table is skipped: %s: %s", name, type(error).__name__, error)
