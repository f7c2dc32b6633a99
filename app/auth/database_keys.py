"""The keys of the database table, held in memory by each worker.

Every `POLL_S` seconds a worker reads the version of the keys, and all keys if it has changed. So a
request costs no query, and a revoked key is refused within that time. While the database does not
answer, the keys in memory stay valid for `TRUST_S` seconds, and no longer: otherwise a thief of a
key could keep it valid by cutting the connection to the database. A worker that starts during that
time reads the keys from a file (`app.auth.snapshots`).
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from app.auth.authenticator import Network, Seal, digest_of, is_remembered, networks
from app.auth.key_entry import KeyEntry, entries_of, log_skipped
from app.auth.key_table import KeyTable
from app.auth.snapshots import KeySnapshot
from app.concurrency.periodic import PeriodicTask
from app.concurrency.yielding import iterate_with_yields
from app.config.sections.keys import check_name
from app.config.sections.services import check_limits
from app.database.engine import Unavailable
from app.domain import Caller
from app.errors import KeysUnavailable, Unauthorized

_log = logging.getLogger("app.auth")

POLL_S = 2.0
#: Seconds after the database's last answer for which the keys in memory are valid.
TRUST_S = 3600.0
#: Seconds between two writes of the snapshot where no key changes.
SNAPSHOT_INTERVAL_S = 60.0
_WRONG = "Incorrect API key provided."
_AWAY = "The keys cannot be looked up now. Try again."

#: The owner of a key, the networks that it is bound to, and when it expires (since 1970).
KnownKey = tuple[Caller, tuple[Network, ...], float]
#: An entry that is not revoked, and what a worker keeps of it.
Accepted = tuple[KeyEntry, KnownKey]


class DatabaseKeys:
    """A `KeySource` of the keys in the database. `start` it in the process that serves."""

    def __init__(
        self, table: KeyTable, poll_s: float = POLL_S, snapshot: KeySnapshot | None = None
    ) -> None:
        self._table = table
        self._snapshot = snapshot
        self._entries: list[KeyEntry] = []
        self._accepted: dict[bytes, Accepted] = {}  # by SHA-256
        self._version: int | None = None
        self._confirmed_at: float | None = None  # of the last query that succeeded, monotonic
        self._snapshot_at = -math.inf  # when the snapshot was last written, monotonic
        self._task = PeriodicTask("access-keys", self.refresh, poll_s, first_after_s=poll_s)

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Return a key's owner and the networks it is bound to, from memory.

        Raises `Unauthorized` for an unknown or expired key, and `KeysUnavailable` if the database
        has not answered for `TRUST_S`.
        """
        if self._confirmed_at is None or time.monotonic() - self._confirmed_at > TRUST_S:
            if key.count(".") == 2:  # a token (JWT): keys of the table have no dots
                raise Unauthorized(_WRONG)
            raise KeysUnavailable(_AWAY, retry_after=5)
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        accepted = self._accepted.get(digest)
        if accepted is None or accepted[1][2] <= time.time():
            raise Unauthorized(_WRONG)
        return accepted[1][:2]

    def remember(self, key: str, seal: Seal) -> Mapping[str, Any]:
        """Return what `recall` finds the key's owner by, without the key. Raises as `identify`."""
        return {"name": self.identify(key)[0].name, "seal": seal(digest_of(key))}

    def recall(
        self, remembered: Mapping[str, Any], seal: Seal
    ) -> tuple[Caller, tuple[Network, ...]]:
        """Return the owner and the networks of the key that `remember` was given, from memory.

        Raises like `identify`.
        """
        if "seal" not in remembered:  # a token
            raise Unauthorized(_WRONG)
        if self._confirmed_at is None or time.monotonic() - self._confirmed_at > TRUST_S:
            raise KeysUnavailable(_AWAY, retry_after=5)
        for digest, (_, (caller, bound_to, end)) in self._accepted.items():
            if end > time.time() and is_remembered(caller, digest, remembered, seal):
                return caller, bound_to
        raise Unauthorized(_WRONG)

    def start(self) -> None:
        """Read the keys, from the snapshot if the database does not answer; then poll."""
        try:
            self.refresh()
        except Exception:  # a bug must not prevent the start: other sources may know the keys
            _log.exception("the table of keys cannot be read")
        if self._confirmed_at is None and self._snapshot is not None:
            self._use_snapshot(self._snapshot)
        self._task.start()

    def stop(self) -> None:
        self._task.stop()

    def wake(self) -> None:
        """Refresh now, in the background: this process has changed a key."""
        self._task.wake()

    def callers(self) -> dict[str, Caller]:
        """Return the callers by name, each of its newest active key, from memory."""
        return _newest(self._accepted.values(), time.time())

    def refresh(self) -> None:
        """Read the version of the keys, and all keys if it has changed."""
        began = time.monotonic()
        try:
            changed = self._table.version() != self._version
            if changed:
                version, self._entries = self._table.read()
                self._accept(self._entries)
                self._version = version
        except Unavailable as error:
            _log.warning("the table of keys does not answer: %s", error)
            return
        self._confirmed_at = began
        is_due = changed or began - self._snapshot_at >= SNAPSHOT_INTERVAL_S
        if self._snapshot is not None and is_due:
            self._write_snapshot(self._snapshot, began)

    def _accept(self, entries: Iterable[KeyEntry]) -> None:
        """Accept the keys of these entries, and no others."""
        before = {accepted[0].sha256: accepted for accepted in self._accepted.values()}
        accepted = enforceable(entries, log_skipped, before)
        self._accepted = {bytes.fromhex(entry.sha256): (entry, known) for entry, known in accepted}

    def _write_snapshot(self, snapshot: KeySnapshot, now: float) -> None:
        self._snapshot_at = now
        try:
            snapshot.write(self._entries, time.time())
        except OSError as error:
            _log.warning("the keys cannot be kept in a file: %s", error)

    def _use_snapshot(self, snapshot: KeySnapshot) -> None:
        """Use the keys of the file if a worker has confirmed them less than `TRUST_S` ago."""
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
        self._entries = entries_of(rows)
        self._accept(self._entries)
        self._confirmed_at = time.monotonic() - max(0.0, age)
        _log.warning("the table of keys is away: using those confirmed %d s ago", age)


def enforceable(
    entries: Iterable[KeyEntry],
    on_skipped: Callable[[object, Exception], None] = log_skipped,
    before: Mapping[str, Accepted] = MappingProxyType({}),
) -> Iterator[Accepted]:
    """Yield the entries that are not revoked, with what a worker keeps of each.

    An entry that this version cannot enforce is skipped, and given to ``on_skipped``. ``before``
    are those that were accepted before, by their SHA-256: to check one that has changed takes 0.1
    ms, which thousands of keys must not take at each change of one.
    """
    for entry in iterate_with_yields(entries):
        if entry.revoked is not None:
            continue
        accepted = before.get(entry.sha256)
        if accepted is not None and accepted[0] == entry:
            yield accepted
            continue
        try:
            known = _known(entry)
        except (TypeError, ValueError) as error:
            on_skipped(entry.name, error)
        else:
            yield entry, known


def newest_callers(
    entries: Iterable[KeyEntry],
    now: float,
    on_skipped: Callable[[object, Exception], None] = log_skipped,
) -> dict[str, Caller]:
    """Return the callers by name, each of the newest active key that workers accept."""
    return _newest(enforceable(entries, on_skipped), now)


def _newest(accepted: Iterable[Accepted], now: float) -> dict[str, Caller]:
    known = [(e, k[0]) for e, k in accepted if e.state(now) == "active"]
    return {e.name: caller for e, caller in sorted(known, key=lambda pair: pair[0].age_order())}


def _known(entry: KeyEntry) -> KnownKey:
    """Check an entry, and return what a worker keeps of it.

    Raises TypeError or ValueError for a limit, a name or a digest that this version cannot enforce.
    """
    check_limits(dict(entry.limits))
    check_name(entry.name)
    bytes.fromhex(entry.sha256)
    end = float("inf") if entry.expires is None else float(entry.expires)
    return entry.caller(), networks(entry.networks), end
