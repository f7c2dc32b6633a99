"""The usage ledger: one row for each request for embeddings, inserted outside the request's path.

A row takes three steps:

1. The request appends its row to a queue in memory, and to the journal
   (`app.usage.ledger.journal`, a file in memory), which survives a process that is killed.
2. A thread writes the queue to the spool (`app.usage.ledger.spool`, a file) four times a second.
3. Another thread (`app.usage.ledger.shipper`) inserts the rows of the spool into the database, and
   retries without a time limit while the database does not answer.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.concurrency.periodic import PeriodicTask
from app.database.columns import COLUMNS
from app.usage.ledger.journal import Journal
from app.usage.ledger.segment import Segment, is_writable
from app.usage.ledger.shipper import Shipper
from app.usage.ledger.spool import Spool
from app.usage.record import Recorder, Row

if TYPE_CHECKING:
    from app.exchange import Exchange

_log = logging.getLogger("app.usage")

#: Seconds between two writes to the spool. A host that fails loses the rows of this time.
SPOOL_INTERVAL_S = 0.25
#: Seconds between two segments that are given to the shipper.
SHIP_INTERVAL_S = 1.0
#: Rows kept in memory while the spool is full or cannot be written; further rows are dropped.
MAX_ROWS_IN_MEMORY = 100_000
#: Seconds that the end of the process may wait for the spool and the database.
SHUTDOWN_TIMEOUT_S = 10.0
_NUMBER = COLUMNS.index("number")


class LedgerState(NamedTuple):
    """Numbers of rows since the start of this process, for metrics."""

    recorded: int  # by this process, including the lost rows
    written: int  # to the database, including rows that ended processes left in the spool
    lost: int  # dropped for lack of memory, or refused by the database
    queued: int  # in memory at present
    spooled_bytes: int  # on disk at present
    database_up: bool


class Ledger:
    """An observer of requests that records each one as a row of the ledger.

    Call `start` in the process that serves, and `close` at its end. ``writer`` is a name that only
    this process has: see `new_writer`.

    The lock guards ``_dropped`` and ``_is_dropping``; nothing waits under it. Only the thread
    changes ``_rows``, ``_open``, ``_dequeued``, ``_set_aside`` and ``_spool_failing``.
    """

    def __init__(
        self,
        recorder: Recorder,
        spool: Spool,
        shipper: Shipper,
        writer: str,
        journal: Journal | None = None,
    ) -> None:
        self._recorder = recorder
        self._journal = journal or Journal(None, writer)
        self._spool = spool
        self._shipper = shipper
        self._writer = writer
        self._queue: deque[Row] = deque()
        self._rows: list[Row] = []  # taken from the queue, not in the spool yet
        self._open: Segment | None = None  # the segment that is being written
        self._shipped_at = 0.0
        self._numbers = itertools.count(1)
        self._lock = uncontended_lock()
        self._dropped = 0  # rows for which there was no room in memory
        self._is_dropping = False  # since the last log line about it
        self._dequeued = self._set_aside = 0
        self._spool_failing = False  # since the last log line about it
        self._task = PeriodicTask("usage-ledger", self._run, SPOOL_INTERVAL_S, at_stop=self._finish)

    @staticmethod
    def new_writer() -> str:
        """Return a random name for this process, different from that of every other process."""
        return secrets.token_hex(8)

    def start(self) -> None:
        """Start the threads."""
        self._journal.open()
        self._task.start()
        self._shipper.start()

    def finished(self, exchange: Exchange, status: int) -> None:
        """Queue the row of a request for embeddings that has a valid key."""
        # Metrics count requests without a valid key. Rows of them could fill the database.
        if exchange.caller is None or not exchange.asks_for_embeddings:
            return
        if len(self._queue) + len(self._rows) >= MAX_ROWS_IN_MEMORY:
            self._drop()
            return
        number = next(self._numbers)  # atomic: many threads call this
        row = self._recorder.row(exchange, status, self._writer, number)
        self._queue.append(row)
        # After the queue: the thread empties the journal's file after it has spooled the queue.
        self._journal.append(row)

    def _drop(self) -> None:
        """Count a row that is dropped; log the first one since the queue was last emptied."""
        with self._lock:
            self._dropped += 1
            is_first, self._is_dropping = not self._is_dropping, True
        if is_first:
            _log.error(
                "the usage ledger drops the newest rows: %d wait in memory", MAX_ROWS_IN_MEMORY
            )

    @property
    def state(self) -> LedgerState:
        """The numbers at present."""
        queued = len(self._queue)
        return LedgerState(
            recorded=self._dequeued + queued + self._dropped,
            written=self._shipper.shipped,
            lost=self._dropped + self._set_aside + self._shipper.refused,
            queued=queued + len(self._rows),
            spooled_bytes=self._spooled_bytes(),
            database_up=self._shipper.is_database_up,
        )

    def _spooled_bytes(self) -> int:
        return self._shipper.bytes_waiting + (self._open.size if self._open is not None else 0)

    def close(self) -> None:
        """Write all rows to the spool, and to the database if it answers within the timeout."""
        if self._task.is_stopping:
            return
        end = time.monotonic() + SHUTDOWN_TIMEOUT_S
        self._task.stop(SHUTDOWN_TIMEOUT_S)
        self._shipper.stop(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        self._empty_queue()
        if self._shipper.is_idle and time.monotonic() - self._shipped_at >= SHIP_INTERVAL_S:
            self._hand_over()

    def _finish(self) -> None:
        try:
            self._empty_queue()
            self._hand_over()
        finally:
            left = [*self._rows, *self._queue]
            if left:
                self._leave_in_journal(left)
            else:
                self._journal.close()

    def _leave_in_journal(self, rows: Sequence[Row]) -> None:
        """Keep the journal's files, and log which of these rows they have and which are lost.

        The end of the process unlocks the files: another process moves them to the spool then.
        """
        numbers = self._journal.row_numbers()
        kept = sum(row[_NUMBER] in numbers for row in rows)
        if kept:
            _log.warning("the process ends: %d rows stay in the journal", kept)
        if kept < len(rows):
            _log.error("the usage ledger loses %d rows: the process ends", len(rows) - kept)

    def _empty_queue(self) -> None:
        """Write the queue to the spool; keep its rows in memory where that fails."""
        self._journal.rotate()
        while self._queue:
            self._rows.append(self._queue.popleft())
            self._dequeued += 1
        if self._rows and not self._spool_rows():
            return
        self._journal.clear()

    def _spool_rows(self) -> bool:
        """Write ``_rows`` to the spool; return False, and log why once, where that fails."""
        if self._spooled_bytes() >= self._spool.max_bytes:
            self._log_spool_failure("the spool is full")
            return False
        try:
            self._write_rows()
        except OSError as error:
            self._log_spool_failure(str(error))
            return False
        self._rows = []
        self._spool_failing = False
        with self._lock:
            was_dropping, self._is_dropping = self._is_dropping, False
        if was_dropping:
            _log.error("the usage ledger dropped %d rows since its start", self._dropped)
        return True

    def _write_rows(self) -> None:
        """Append ``_rows`` to the spool, and set rows aside that JSON cannot hold.

        Raises OSError.
        """
        if self._open is None:
            self._spool.prepare()
            self._open = self._spool.new()
        try:
            self._open.append(self._rows)
        except ValueError as error:
            unwritable = [row for row in self._rows if not is_writable(row)]
            self._rows = [row for row in self._rows if is_writable(row)]
            self._set_aside += len(unwritable)
            _log.error("the usage ledger set aside %d rows: %s", len(unwritable), error)
            self._spool.set_aside({"reason": str(error), "row": row} for row in unwritable)
            self._open.append(self._rows)

    def _log_spool_failure(self, reason: str) -> None:
        """Log why rows stay in memory, once until the spool can be written again."""
        if not self._spool_failing:
            _log.error("the usage ledger cannot write its spool: %s", reason)
        self._spool_failing = True

    def _hand_over(self) -> None:
        """Give the segment that is being written to the shipper."""
        if self._open is not None:
            self._shipped_at = time.monotonic()
            self._shipper.give(self._open)
            self._open = None
