"""Inserts the segments of the spool into the database, and runs the periodic database jobs."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from app.concurrency.periodic import PeriodicTask
from app.database.engine import Refused, Unavailable
from app.usage.ledger.segment import Segment
from app.usage.ledger.spool import Spool
from app.usage.record import Row
from app.usage.store.store import Store

_log = logging.getLogger("app.usage")

#: Rows of one transaction.
MAX_ROWS_PER_TRANSACTION = 1_000
#: Seconds between two attempts while the database does not answer: the first pause and the longest.
MIN_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S = 0.1, 5.0
#: Seconds between two searches for segments, and for journals, that ended processes left behind.
ORPHAN_INTERVAL_S = 10.0
#: Seconds between two runs of a shipper that has nothing to ship.
IDLE_INTERVAL_S = 1.0


@dataclass(slots=True)
class Chore:
    """A job that needs the database, run every ``interval_s`` seconds while no segment waits."""

    interval_s: float
    run: Callable[[], object]
    due_at: float = field(default=0.0)  # monotonic


class Shipper:
    """A thread that inserts segments into the database, one at a time.

    `give` it a segment while it `is_idle`. A run first moves the journals of ended processes to the
    spool if that is due. It then has three cases:

    1. A segment waits: insert its rows, then run again at once.
    2. The database does not answer: keep the segment, and run again after a pause that doubles
       with each failure.
    3. No segment waits: run the chores that are due.
    """

    def __init__(self, store: Store, spool: Spool, chores: list[Chore]) -> None:
        self._store = store
        self._spool = spool
        self._chores = chores
        self._given: deque[Segment] = deque()
        self._segment: Segment | None = None
        self._next_orphan_search = self._next_take_over = 0.0  # monotonic
        self._retry_pause_s = 0.0  # above 0 while the database does not answer
        self.shipped = 0  # rows
        self.refused = 0  # rows and lines that were set aside
        self._task = PeriodicTask("usage-shipper", self._run, IDLE_INTERVAL_S, at_stop=self._finish)

    def start(self) -> None:
        """Start the thread."""
        self._task.start()

    @property
    def is_idle(self) -> bool:
        """No segment waits."""
        return self._segment is None and not self._given

    @property
    def is_database_up(self) -> bool:
        """The last attempt to insert rows did not fail for want of an answer."""
        return not self._retry_pause_s

    @property
    def bytes_waiting(self) -> int:
        """Bytes of segments whose rows are not in the database yet."""
        segment = self._segment
        waiting = sum(given.size for given in list(self._given))
        return waiting + (segment.size - segment.sent if segment is not None else 0)

    def give(self, segment: Segment) -> None:
        """Ship ``segment`` after those that were given before. Never waits."""
        self._given.append(segment)
        self._task.wake()

    def stop(self, timeout_s: float) -> None:
        """Ship what was given; leave on disk what the database does not take within the timeout."""
        self._task.stop(timeout_s)

    def _run(self) -> float:
        """Do one step; return the seconds until the next."""
        self._take_over_journals()
        self._segment = self._segment or self._next_segment()
        if self._segment is None:
            self._run_chores()
            return IDLE_INTERVAL_S
        began = time.monotonic()
        try:
            self._ship(self._segment)
        except Unavailable as error:
            self._database_failed(error)
            # The pause counts from the failure: an attempt may have waited for a timeout.
            return time.monotonic() - began + self._retry_pause_s
        except Exception:  # a bug: what is on disk stays there
            self._release_segment()
            raise
        self._segment = None
        return 0.0

    def _finish(self) -> None:
        """Try to ship each segment once more; release those that the database does not take."""
        while self._segment is not None or self._given:
            self._segment = self._segment or self._given.popleft()
            try:
                self._ship(self._segment)
            except Unavailable as error:
                self._database_failed(error)
                self._release_segment()
            except Exception:
                self._release_segment()
                raise
            else:
                self._segment = None

    def _take_over_journals(self) -> None:
        """Move journals to the spool, also while the database is away: it may be so for long."""
        now = time.monotonic()
        if now >= self._next_take_over and not self._task.is_stopping:
            self._next_take_over = now + ORPHAN_INTERVAL_S
            self._spool.take_over_journals()
            self._next_orphan_search = now  # they are segments of the spool now

    def _next_segment(self) -> Segment | None:
        if self._given:
            return self._given.popleft()
        now = time.monotonic()
        if now < self._next_orphan_search or self._task.is_stopping:
            return None
        segment = self._spool.orphan()
        self._next_orphan_search = now if segment is not None else now + ORPHAN_INTERVAL_S
        return segment

    def _ship(self, segment: Segment) -> None:
        """Insert the rows that are not sent yet, and remove the segment. Raises `Unavailable`."""
        for rows in segment.chunks(MAX_ROWS_PER_TRANSACTION):
            refused: list[tuple[Row, str]] = []
            try:
                self._store.insert(rows)
            except Refused:
                refused = self._store.insert_each(rows)
                self._set_aside([{"reason": reason, "row": row} for row, reason in refused])
            self.shipped += len(rows) - len(refused)
            if self._retry_pause_s:
                _log.info("the usage ledger's database is back")
            self._retry_pause_s = 0.0
        lines = [line.decode(errors="replace").rstrip("\n") for line in segment.not_rows]
        self._set_aside([{"reason": "no row", "line": line} for line in lines])
        segment.remove()

    def _set_aside(self, entries: list[dict[str, object]]) -> None:
        if entries:
            reason = entries[0]["reason"]
            _log.error("the usage ledger set aside %d rows: %s", len(entries), reason)
            self._spool.set_aside(entries)
            self.refused += len(entries)

    def _database_failed(self, error: Unavailable) -> None:
        """Log the first failure of an episode, and lengthen the pause."""
        if not self._retry_pause_s:
            _log.warning(
                "the usage ledger's database is away, rows wait on disk (%s). If tables are "
                "missing: flask --app wsgi usage migrate",
                error,
            )
        self._retry_pause_s = min(
            max(MIN_RETRY_PAUSE_S, self._retry_pause_s * 2), MAX_RETRY_PAUSE_S
        )

    def _release_segment(self) -> None:
        """Unlock the segment, so that any process may ship it as an orphan."""
        if self._segment is not None:
            self._segment.release()
            self._segment = None

    def _run_chores(self) -> None:
        now = time.monotonic()
        for chore in self._chores:
            if chore.due_at <= now and not self._task.is_stopping:
                chore.due_at = now + chore.interval_s
                try:
                    chore.run()
                except (Unavailable, Refused) as error:
                    _log.warning("a job of the usage ledger's database failed: %s", error)
