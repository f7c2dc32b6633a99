"""Carries segments of the spool into the database, and does what has to be done now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.database.engine import Refused, Unavailable
from app.usage.record import Row
from app.usage.spool import Segment, Spool
from app.usage.store import Store

_log = logging.getLogger("app.usage")

_ROWS = 1_000  # of one transaction
_LONGEST_PAUSE = 5.0  # seconds between attempts at a database that is away
_ORPHANS = 10.0  # seconds between looks for what other processes left behind


@dataclass(slots=True)
class Chore:
    """Something to be done every so many seconds, when the database answers."""

    every: float
    do: Callable[[], object]
    due: float = field(default=0.0)


class Shipper:
    """A thread of its own; `give` it a segment while it is `idle`."""

    def __init__(self, store: Store, spool: Spool, chores: list[Chore]) -> None:
        self._store = store
        self._spool = spool
        self._chores = chores
        self._given: deque[Segment] = deque()
        self._segment: Segment | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage-shipper", daemon=True)
        self._look_at = 0.0  # for orphans
        self.pause = 0.0  # seconds; above 0, the database is away
        self.shipped = 0
        self.refused = 0  # rows that are set aside

    def start(self) -> None:
        self._thread.start()

    @property
    def idle(self) -> bool:
        return self._segment is None and not self._given

    @property
    def bytes_waiting(self) -> int:
        segment = self._segment
        waiting = sum(given.size for given in list(self._given))
        return waiting + (segment.size - segment.sent if segment is not None else 0)

    def give(self, segment: Segment) -> None:
        self._given.append(segment)
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Ship what was given, if the database takes it in that time; else leave it on disk."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set() or self._given:
            try:
                self._once()
            except Exception:  # a bug must not end the ledger; what is on disk stays there
                _log.exception("the usage ledger met a bug")
                self._leave()
                self._stop.wait(_LONGEST_PAUSE)

    def _once(self) -> None:
        self._segment = self._next()
        if self._segment is None:
            self._do_chores()
            self._wake.wait(1.0)
            self._wake.clear()
            return
        while self._segment is not None:
            try:
                self._ship(self._segment)
            except Unavailable as error:
                if self._leave_for_later(error):
                    return
            else:
                self._segment = None

    def _next(self) -> Segment | None:
        if self._given:
            return self._given.popleft()
        now = time.monotonic()
        if now < self._look_at or self._stop.is_set():
            return None
        segment = self._spool.orphan()
        self._look_at = now if segment is not None else now + _ORPHANS
        return segment

    def _ship(self, segment: Segment) -> None:
        for rows in segment.chunks(_ROWS):
            refused: list[tuple[Row, str]] = []
            try:
                self._store.insert(rows)
            except Refused:
                refused = self._store.insert_each(rows)
                self._set_aside([{"reason": why, "row": row} for row, why in refused])
            self.shipped += len(rows) - len(refused)
            if self.pause:
                _log.info("the usage ledger's database is back")
            self.pause = 0.0
        lines = [line.decode(errors="replace").rstrip("\n") for line in segment.not_rows]
        self._set_aside([{"reason": "no row", "line": line} for line in lines])
        segment.remove()

    def _set_aside(self, entries: list[dict[str, object]]) -> None:
        if entries:
            why = entries[0]["reason"]
            _log.error("the usage ledger set aside %d rows: %s", len(entries), why)
            self._spool.set_aside(entries)
            self.refused += len(entries)

    def _leave_for_later(self, error: Unavailable) -> bool:
        """Wait a little; whether to leave the segment to whoever comes after us."""
        if not self.pause:
            _log.warning(
                "the usage ledger's database is away, rows wait on disk (%s). If tables are "
                "missing: flask --app wsgi usage migrate",
                error,
            )
        self.pause = min(max(0.1, self.pause * 2), _LONGEST_PAUSE)
        if not self._stop.wait(self.pause):
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.release()
            self._segment = None

    def _do_chores(self) -> None:
        now = time.monotonic()
        for chore in self._chores:
            if chore.due <= now and not self._stop.is_set():
                chore.due = now + chore.every
                try:
                    chore.do()
                except (Unavailable, Refused) as error:
                    _log.warning("the usage ledger could not tidy up: %s", error)
