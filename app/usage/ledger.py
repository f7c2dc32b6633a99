"""The usage ledger: a row for each request for embeddings, written off the answer's path.

A request leaves its row in a queue. A thread empties that into the spool, a file, four times a
second: so much is lost when the process is killed. Another thread (`app.usage.shipper`) carries the
spool into the database and may wait there as long as it likes.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.usage.record import Recorder, Row, is_metered
from app.usage.shipper import Shipper
from app.usage.spool import Segment, Spool, is_writable

if TYPE_CHECKING:
    from app.exchange import Exchange

_log = logging.getLogger("app.usage")

_TICK = 0.25  # seconds between writes to the spool: what SIGKILL may cost
_SHIP = 1.0  # seconds between transactions
#: Rows in memory, where the spool is full or cannot be written; the newest are dropped then.
MAX_ROWS_IN_MEMORY = 100_000
SHUTDOWN_TIMEOUT_S = 10.0  # seconds that the end of the process may wait for the database


class LedgerState(NamedTuple):
    """Counts of rows since the start of this process; for metrics."""

    recorded: int  # rows there should be, with those that are lost
    written: int  # into the database, with those that others left behind
    lost: int  # no room in memory, or refused and set aside
    queued: int  # now, in memory
    spooled_bytes: int  # now, on disk
    database_up: bool


class Ledger:
    """An observer. `start` it in the process that serves, and `close` it at its end.

    The lock guards ``_dropped`` and ``_is_dropping``; nothing waits under it. ``_rows``, ``_open``,
    ``_taken``, ``_set_aside`` and ``_complained`` are changed by the thread alone.
    """

    def __init__(self, recorder: Recorder, spool: Spool, shipper: Shipper, writer: str) -> None:
        self._recorder = recorder
        self._spool = spool
        self._shipper = shipper
        self._writer = writer
        self._queue: deque[Row] = deque()
        self._rows: list[Row] = []  # taken from the queue, not in the spool yet
        self._open: Segment | None = None
        self._shipped_at = 0.0
        self._numbers = itertools.count(1)
        self._lock = uncontended_lock()
        self._dropped = 0  # rows for which there was no room in memory
        self._is_dropping = False  # an episode, logged at its begin
        self._taken = self._set_aside = 0
        self._complained = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage-ledger", daemon=True)

    @staticmethod
    def new_writer() -> str:
        """A name for this process that no other ever has."""
        return secrets.token_hex(8)

    def start(self) -> None:
        self._thread.start()
        self._shipper.start()

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """Nothing: all that counts is known at the end."""

    def finished(self, exchange: Exchange, status: int) -> None:
        # Requests without a valid key are counted in metrics only: they could fill a table.
        if exchange.caller is None or not is_metered(exchange):
            return
        if len(self._queue) + len(self._rows) >= MAX_ROWS_IN_MEMORY:
            self._drop()
            return
        number = next(self._numbers)  # in one step, for many threads ask
        self._queue.append(self._recorder.row(exchange, status, self._writer, number))

    def _drop(self) -> None:
        """Count a row for which there is no room."""
        with self._lock:
            self._dropped += 1
            begins, self._is_dropping = not self._is_dropping, True
        if begins:
            _log.error(
                "the usage ledger drops the newest rows: %d wait in memory", MAX_ROWS_IN_MEMORY
            )

    @property
    def state(self) -> LedgerState:
        queued = len(self._queue)
        return LedgerState(
            recorded=self._taken + queued + self._dropped,
            written=self._shipper.shipped,
            lost=self._dropped + self._set_aside + self._shipper.refused,
            queued=queued + len(self._rows),
            spooled_bytes=self._spooled_bytes(),
            database_up=not self._shipper.pause,
        )

    def _spooled_bytes(self) -> int:
        return self._shipper.bytes_waiting + (self._open.size if self._open is not None else 0)

    def close(self) -> None:
        """Write what there is: to the spool at once, to the database if it answers."""
        if self._stop.is_set():
            return
        self._stop.set()
        end = time.monotonic() + SHUTDOWN_TIMEOUT_S
        self._thread.join(SHUTDOWN_TIMEOUT_S)
        self._shipper.stop(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(_TICK)
            try:
                self._empty_queue()
                self._hand_over(stopping)
            except Exception:  # a bug must not end the ledger
                _log.exception("the usage ledger met a bug")
        if self._rows:
            _log.error("the usage ledger loses %d rows: the process ends", len(self._rows))

    def _empty_queue(self) -> None:
        while self._queue:
            self._rows.append(self._queue.popleft())
            self._taken += 1
        if not self._rows:
            return
        if self._spooled_bytes() >= self._spool.most_bytes:
            self._complain("the spool is full")
            return
        try:
            self._write()
        except OSError as error:
            self._complain(str(error))
            return
        self._rows = []
        self._complained = False
        with self._lock:
            dropped, self._is_dropping = self._is_dropping, False
        if dropped:
            _log.error("the usage ledger dropped %d rows since its start", self._dropped)

    def _write(self) -> None:
        """Append what waits to the spool; what is no JSON is set aside. Raises OSError."""
        if self._open is None:
            self._spool.prepare()
            self._open = self._spool.new()
        try:
            self._open.append(self._rows)
        except ValueError as error:
            odd = [row for row in self._rows if not is_writable(row)]
            self._rows = [row for row in self._rows if is_writable(row)]
            self._set_aside += len(odd)
            _log.error("the usage ledger set aside %d rows: %s", len(odd), error)
            self._spool.set_aside({"reason": str(error), "row": row} for row in odd)
            self._open.append(self._rows)

    def _complain(self, why: str) -> None:
        """Log once an episode why rows stay in memory."""
        if not self._complained:
            _log.error("the usage ledger cannot write its spool: %s", why)
        self._complained = True

    def _hand_over(self, stopping: bool) -> None:
        """The segment to the shipper, if that has nothing else to do."""
        now = time.monotonic()
        due = self._shipper.idle and now - self._shipped_at >= _SHIP
        if self._open is not None and (due or stopping):
            self._shipped_at = now
            self._shipper.give(self._open)
            self._open = None
