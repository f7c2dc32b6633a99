"""Keys in the database of the ledger, beside those of the settings.

Workers hold all of them in memory and ask every two seconds whether the keys' version has changed;
so a request costs no query, and a key that was revoked is refused within that time. Where the
database does not answer, what is known goes on for `_TRUST` seconds: longer would make a stolen key
worth cutting the wire.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.access.door import Network, networks
from app.access.keys import caller_of, new_key
from app.access.refusals import KeysUnavailable
from app.config import KeySettings
from app.domain import Caller
from app.errors import Unauthorized
from app.usage.database import Database, Unavailable
from app.usage.tables import keys, keys_version

_log = logging.getLogger("app.access")
T = TypeVar("T")

POLL = 2.0  # seconds
_TRUST = 3600.0  # seconds without an answer of the database

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
    rows = connection.execute(sa.select(keys).where(*where).order_by(_c.created, _c.name))
    return [_entry(dict(row)) for row in rows.mappings()]


def _entry(row: dict[str, Any]) -> Entry:
    row |= {name: tuple(row[name]) for name in ("models", "networks")}
    return Entry(**row | {"limits": tuple(row["limits"].items())})


Known = tuple[Caller, tuple[Network, ...], float]  # with the time of its end


class TableKeys:
    """The table as a `KeySource`. `start` it in the process that serves."""

    def __init__(self, table: KeyTable, poll: float = POLL) -> None:
        self._table = table
        self._poll = poll
        self._known: dict[bytes, Known] = {}
        self._version: int | None = None
        self._asked = 0.0  # when the database last answered, of the monotonic clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-keys", daemon=True)

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Raises `Unauthorized`, or `KeysUnavailable` where nobody can know."""
        if self._version is None or time.monotonic() - self._asked > _TRUST:
            raise KeysUnavailable("The keys cannot be looked up now. Try again.", retry_after=5)
        known = self._known.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())
        if known is None or known[2] <= time.time():
            raise Unauthorized("Incorrect API key provided.")
        return known[:2]

    def start(self) -> None:
        """Take the keys now, where the database answers, and keep asking."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def refresh(self) -> None:
        """Ask for the version, and where it changed, for all keys."""
        began = time.monotonic()
        try:
            if self._table.version() != self._version:
                version, entries = self._table.read()
                self._known = _by_digest(entries)
                self._version = version
        except Unavailable as error:
            _log.warning("the table of keys does not answer: %s", error)
            return
        self._asked = began

    def _run(self) -> None:
        while not self._stop.wait(self._poll):
            try:
                self.refresh()
            except Exception:  # a bug must not end the polling: keys have to be revocable
                _log.exception("the table of keys met a bug")


def _by_digest(entries: Iterable[Entry]) -> dict[bytes, Known]:
    return {
        bytes.fromhex(e.sha256): (e.caller(), networks(e.networks), e.expires or float("inf"))
        for e in entries
        if e.revoked is None
    }
