"""The keys of the table as a worker knows them.

Workers hold all of them in memory and ask every two seconds whether the keys' version has changed;
so a request costs no query, and a key that was revoked is refused within that time. Where the
database does not answer, what is known goes on for `TRUST_S` seconds: longer would make a stolen
key worth cutting the wire. A worker that starts then takes what is known from a file.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterable

from app.auth.authenticator import Network, networks
from app.auth.key_entry import Entry, check_name, entries_of, log_skipped
from app.auth.key_table import KeyTable
from app.auth.snapshot import Snapshot
from app.database.engine import Unavailable
from app.domain import Caller
from app.errors import KeysUnavailable, Unauthorized

_log = logging.getLogger("app.access")

POLL_S = 2.0
TRUST_S = 3600.0  # without an answer of the database
SNAPSHOT_INTERVAL_S = 60.0  # between two writes of the file, where no key changes
_WRONG = "Incorrect API key provided."

Known = tuple[Caller, tuple[Network, ...], float]  # with the time of its end


class TableKeys:
    """The table as a `KeySource`. `start` it in the process that serves."""

    def __init__(
        self, table: KeyTable, poll: float = POLL_S, snapshot: Snapshot | None = None
    ) -> None:
        self._table = table
        self._poll = poll
        self._snapshot = snapshot
        self._entries: list[Entry] = []
        self._known: dict[bytes, Known] = {}
        self._version: int | None = None
        self._asked: float | None = None  # when the database last answered, monotonic
        self._kept = -math.inf  # when the snapshot was last written, monotonic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-keys", daemon=True)

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Raises `Unauthorized`, or `KeysUnavailable` where nobody can know."""
        if self._asked is None or time.monotonic() - self._asked > TRUST_S:
            if key.count(".") == 2:  # a token: keys of the table have no dots
                raise Unauthorized(_WRONG)
            raise KeysUnavailable("The keys cannot be looked up now. Try again.", retry_after=5)
        known = self._known.get(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())
        if known is None or known[2] <= time.time():
            raise Unauthorized(_WRONG)
        return known[:2]

    def start(self) -> None:
        """Take the keys now, where the database answers, and keep asking."""
        self._refresh_whatever_happens()
        if self._asked is None and self._snapshot is not None:
            self._take_snapshot(self._snapshot)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def refresh(self) -> None:
        """Ask for the version, and where it changed, for all keys."""
        began = time.monotonic()
        try:
            changed = self._table.version() != self._version
            if changed:
                version, self._entries = self._table.read()
                self._known = _by_digest(self._entries)
                self._version = version
        except Unavailable as error:
            _log.warning("the table of keys does not answer: %s", error)
            return
        self._asked = began
        if self._snapshot is not None and (changed or began - self._kept >= SNAPSHOT_INTERVAL_S):
            self._keep(self._snapshot, began)

    def _keep(self, snapshot: Snapshot, asked: float) -> None:
        self._kept = asked
        try:
            snapshot.write(self._entries, time.time())
        except OSError as error:
            _log.warning("the keys cannot be kept in a file: %s", error)

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        """Go on with the keys that another worker has confirmed less than `TRUST_S` ago."""
        try:
            confirmed, rows = snapshot.read()
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("the keys that are kept in a file cannot be used: %s", error)
            return
        age = time.time() - confirmed
        if not -SNAPSHOT_INTERVAL_S <= age <= TRUST_S:
            _log.warning("the keys that are kept in a file are too old: %d s", age)
            return
        self._known = _by_digest(entries_of(rows))
        self._asked = time.monotonic() - max(0.0, age)
        _log.warning("the table of keys is away: using those confirmed %d s ago", age)

    def _run(self) -> None:
        while not self._stop.wait(self._poll):
            self._refresh_whatever_happens()

    def _refresh_whatever_happens(self) -> None:
        try:
            self.refresh()
        except Exception:  # a bug must not end the polling: keys have to be revocable
            _log.exception("the table of keys met a bug")


def _by_digest(entries: Iterable[Entry]) -> dict[bytes, Known]:
    found: dict[bytes, Known] = {}
    for entry in entries:
        try:
            if entry.revoked is None:
                found[bytes.fromhex(entry.sha256)] = _known(entry)
        except (TypeError, ValueError) as error:
            log_skipped(entry.name, error)
    return found


def _known(entry: Entry) -> Known:
    """Raises TypeError or ValueError for what this version cannot hold a caller to."""
    for limit, value in entry.limits:
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"{limit} is {value!r}")
    check_name(entry.name)
    end = float("inf") if entry.expires is None else float(entry.expires)
    return entry.caller(), networks(entry.networks), end
