"""Usage reports over HTTP, limited in number, rate and duration.

A report may read many rows, and every key may request one. It has database connections and threads
of its own, so that the ledger's writes do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.concurrency.locks import uncontended_lock
from app.database.engine import Unavailable
from app.errors import RateLimited, UsageUnavailable
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.windows import Take
from app.limits.periods import MINUTE
from app.usage.store.store import ReportQuery, Store

T = TypeVar("T")
#: Makes one report: returns the groups in the query's order.
Report = Callable[[ReportQuery], list[dict[str, Any]]]

#: Reports that one worker runs at the same time.
MAX_REPORTS_AT_ONCE = 2
#: Reports that one worker runs for a key in a minute.
MAX_REPORTS_PER_MINUTE = 60
#: Seconds that the database may take for a report.
REPORT_TIME_LIMIT_S = 5.0
#: ``Retry-After`` of a report that is refused because others are running.
RETRY_AFTER_S = 1.0
#: Groups of one report.
MAX_GROUPS = 10_000


class Reporter:
    """Runs reports, one at a time for each key.

    The lock guards ``_running``; nothing waits under it.
    """

    def __init__(self, store: Store, windows: MemoryWindows | None = None) -> None:
        self._store = store
        self._windows = windows or MemoryWindows()
        self._lock = uncontended_lock()
        self._running: set[str] = set()  # names of keys

    def report(self, key: str, query: ReportQuery) -> list[dict[str, Any]]:
        """Return the groups in the query's order. Raises `RateLimited` or `UsageUnavailable`."""
        return self.run(key, lambda report: report(query))

    def run(self, key: str, work: Callable[[Report], T], slot: str | None = None) -> T:
        """Return the result of ``work``, which makes several reports that count as one.

        ``slot`` names what runs one at a time, the key unless given. Raises `RateLimited` or
        `UsageUnavailable`.
        """
        self._check_rate(key)
        with self._slot(slot or key):
            try:
                return work(lambda query: self._store.report(query, MAX_GROUPS))
            except Unavailable as error:
                raise UsageUnavailable(
                    "The usage cannot be read now. Try again, or ask for a shorter time.",
                    retry_after=RETRY_AFTER_S,
                ) from error

    def _check_rate(self, key: str) -> None:
        taken = self._windows.take([Take(key, MAX_REPORTS_PER_MINUTE, MINUTE, 1)])
        if taken.refused >= 0:
            raise RateLimited(
                f"Rate limit reached for reports of usage: {MAX_REPORTS_PER_MINUTE} per minute.",
                retry_after=taken.windows[0].time_to_fit(MAX_REPORTS_PER_MINUTE - 1),
            )

    @contextmanager
    def _slot(self, key: str) -> Iterator[None]:
        with self._lock:
            is_running, running = key in self._running, len(self._running)
            if not is_running and running < MAX_REPORTS_AT_ONCE:
                self._running.add(key)
        if is_running:
            raise RateLimited(
                "A report of usage for this key is being made: one at a time.",
                retry_after=RETRY_AFTER_S,
            )
        if running >= MAX_REPORTS_AT_ONCE:
            raise UsageUnavailable(
                "Other reports of usage are being made. Try again.", retry_after=RETRY_AFTER_S
            )
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)
