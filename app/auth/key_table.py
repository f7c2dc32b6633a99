"""Read and change the keys in the database (`app.auth.database_keys` authenticates with them)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.auth.authenticator import new_key
from app.auth.key_entry import KeyEntry, columns_of, entries_of, is_json
from app.config.sections.keys import check_name
from app.database.tables import keys, requests
from app.database.versioned_table import VersionedTable, version_in

_c = keys.c
#: Keys whose last use one query asks for.
NAMES_PER_QUERY = 100
#: Characters of the name of a new key: as many as the name of a block.
MAX_NAME_CHARACTERS = 256
#: What `KeyTable.edit` can change.
EDITABLE = ("models", "admin", "limits", "networks", "expires")


class _Unchanged(Enum):
    UNCHANGED = 0


#: Given as an expiry: keep that of the previous key.
UNCHANGED: Final = _Unchanged.UNCHANGED
#: Seconds since 1970; None: never.
Expiry = int | None | Literal[_Unchanged.UNCHANGED]


class KeyTable(VersionedTable):
    """The table of keys; each change increments the version in the same transaction."""

    def read(self) -> tuple[int, list[KeyEntry]]:
        """Return the version, and all keys, revoked ones too.

        The keys may be newer than the version, never older: the version is read first.
        """
        version, rows = self._run(lambda c: (version_in(c), _rows(c)))
        return version, entries_of(rows)

    def newest(self, name: str) -> KeyEntry:
        """Return the key of this name that was made last and is not revoked. Raises ValueError."""
        return self._run(lambda connection: self._newest(connection, name))

    def last_use(self, name: str) -> int | None:
        """Return the time of the ledger's newest row of this key, in seconds since 1970, or None.

        The ledger is written one or two seconds after the requests.
        """
        newest = sa.select(sa.func.max(requests.c.time)).where(requests.c.key == name)
        milliseconds = self._run(lambda connection: connection.execute(newest).scalar_one())
        return None if milliseconds is None else int(milliseconds) // 1000

    def last_uses(self, names: Iterable[str]) -> dict[str, int]:
        """Return what `last_use` does for many keys, by name; those never used are missing."""
        found: dict[str, int] = {}
        ordered = sorted(set(names))
        for start in range(0, len(ordered), NAMES_PER_QUERY):
            some = ordered[start : start + NAMES_PER_QUERY]
            # A subquery for each name: one step in the index by key and time, where grouping by key
            # would read the whole index.
            newest = sa.func.max(requests.c.time)
            each = [sa.select(newest).where(requests.c.key == n).scalar_subquery() for n in some]
            statement = sa.select(*each)
            times = zip(some, self._run(partial(_one, statement)), strict=True)
            found |= {name: int(time) // 1000 for name, time in times if time is not None}
        return found

    def new(self, entry: KeyEntry) -> str:
        """Add a key, and return the plaintext; only its hash is stored. Raises ValueError."""
        check_name(entry.name)
        if len(entry.name) > MAX_NAME_CHARACTERS:
            raise ValueError(f"the name may have {MAX_NAME_CHARACTERS} characters")

        def add(connection: Connection) -> str:
            if self._active(connection, entry.name):
                raise ValueError(f"there is a key {entry.name!r}: revoke or rotate it")
            return self._insert(connection, entry, "key.new")

        return self._change(add)

    def revoke(self, name: str) -> int:
        """Revoke all keys of a name, and return how many there were."""

        def end(connection: Connection) -> int:
            known = sa.and_(_c.name == name, _c.revoked.is_(None))
            statement = sa.update(keys).where(known).values(revoked=int(self._clock()))
            ended = connection.execute(statement).rowcount
            if ended:
                self._record(connection, "key.revoke", name, {"keys": ended})
            return ended

        return self._change(end)

    def rotate(self, name: str, grace: float, expires: Expiry = UNCHANGED) -> str:
        """Make a new key, and return its plaintext; the old one ends in ``grace`` seconds.

        The new key expires when the old one would have, unless ``expires`` is given. For an expired
        key it must be given. Raises ValueError.
        """

        def change(connection: Connection) -> str:
            newest = self._newest(connection, name)
            if expires is UNCHANGED and newest.state(self._clock()) == "expired":
                raise ValueError(f"the key {name!r} has expired: say when the new one expires")
            end = int(self._clock() + grace)
            old = sa.and_(_c.name == name, _c.revoked.is_(None))
            later = sa.or_(_c.expires.is_(None), _c.expires > end)
            connection.execute(sa.update(keys).where(old, later).values(expires=end))
            if expires is not UNCHANGED:
                newest = replace(newest, expires=expires)
            return self._insert(connection, newest, "key.rotate", {"grace_s": int(grace)})

        return self._change(change)

    def edit(self, name: str, change: Callable[[KeyEntry], KeyEntry]) -> dict[str, list[Any]]:
        """Change what a key permits; return column → [value before, value after].

        All keys of the name that are not revoked are changed, so that a rotated key keeps the same
        rights until it ends. The expiry is changed in the newest one only. Raises ValueError.
        """

        def run(connection: Connection) -> dict[str, list[Any]]:
            newest = self._newest(connection, name)
            before, after = columns_of(newest), columns_of(change(newest))
            changed = {n: [before[n], after[n]] for n in EDITABLE if before[n] != after[n]}
            values = {column: after[column] for column in changed}
            own = {column: values.pop(column) for column in ("expires",) if column in values}
            not_revoked = sa.and_(_c.name == name, _c.revoked.is_(None))
            if values:
                connection.execute(sa.update(keys).where(not_revoked).values(values))
            if own:
                this = _c.sha256 == newest.sha256
                connection.execute(sa.update(keys).where(this).values(own))
            if changed:
                self._record(connection, "key.edit", name, changed)
            return changed

        return self._change(run)

    def _active(self, connection: Connection, name: str) -> list[KeyEntry]:
        now = self._clock()
        return [e for e in _select(connection, _c.name == name) if e.state(now) == "active"]

    def _newest(self, connection: Connection, name: str) -> KeyEntry:
        """Return the key of this name that is not revoked and was made last. Raises ValueError."""
        found = _select(connection, _c.name == name, _c.revoked.is_(None))
        if not found:
            raise ValueError(f"there is no active key {name!r}")
        return max(found, key=KeyEntry.age_order)

    def _insert(
        self,
        connection: Connection,
        entry: KeyEntry,
        action: str,
        detail: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        key, digest = new_key()
        values = columns_of(entry) | {"sha256": digest, "created": int(self._clock())}
        connection.execute(sa.insert(keys).values(values))
        rights = {name: values[name] for name in EDITABLE}
        self._record(connection, action, entry.name, {**rights, **detail})
        return key


def _one(statement: sa.Select[Any], connection: Connection) -> Sequence[Any]:
    return connection.execute(statement).one()


def _select(connection: Connection, *where: sa.ColumnElement[bool]) -> list[KeyEntry]:
    return entries_of(_rows(connection, *where))


def _rows(connection: Connection, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    # JSON as text, parsed in `entries_of`: in the driver, one bad row would fail the whole query.
    columns = [sa.cast(c, sa.Text).label(c.name) if is_json(c) else c for c in keys.c]
    rows = connection.execute(sa.select(*columns).where(*where).order_by(_c.created, _c.name))
    return [dict(row) for row in rows.mappings()]
