"""Reports for those who ask over HTTP: few at once, one of a key, within a time, never in the way.

A report may read much, and whoever has a key may ask for one. So it has connections and threads of
its own: the ledger's writes and the look-ups of names do not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.concurrency.locks import uncontended_lock
from app.database.engine import Unavailable
from app.errors import RateLimited, UsageUnavailable
from app.limits.memory import MemoryWindows, Take
from app.limits.periods import MINUTE
from app.usage.store import Question, Store

#: Reports that one worker makes at the same time.
MAX_REPORTS_AT_ONCE = 2
#: Reports a minute that one worker makes for a key.
MAX_REPORTS_PER_MINUTE = 60
#: Seconds that the database may take for one.
REPORT_TIME_LIMIT_S = 5.0
#: Seconds after which to ask again where reports are being made.
RETRY_AFTER_S = 1.0
#: Groups of an answer.
MAX_GROUPS = 10_000


class Reporter:
    """The lock guards ``_running``; nothing waits under it."""

    def __init__(self, store: Store, windows: MemoryWindows | None = None) -> None:
        self._store = store
        self._windows = windows or MemoryWindows()
        self._lock = uncontended_lock()
        self._running: set[str] = set()  # names of keys

    def report(self, key: str, question: Question) -> list[dict[str, Any]]:
        """The groups, most requests first. Raises `RateLimited` or `UsageUnavailable`."""
        self._check_rate(key)
        with self._slot(key):
            try:
                return self._store.report(question, MAX_GROUPS)
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
            is_running, others = key in self._running, len(self._running)
            if not is_running and others < MAX_REPORTS_AT_ONCE:
                self._running.add(key)
        if is_running:
            raise RateLimited(
                "A report of usage for this key is being made: one at a time.",
                retry_after=RETRY_AFTER_S,
            )
        if others >= MAX_REPORTS_AT_ONCE:
            raise UsageUnavailable(
                "Other reports of usage are being made. Try again.", retry_after=RETRY_AFTER_S
            )
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)
