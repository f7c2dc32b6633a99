"""Count usage in windows, in memory: of the last minute, of this day, of this month.

Days and months are those of the calendar (`app.limits.periods`); a minute is a sliding window. Its
algorithm is the sliding window counter of the `limits` library; tests compare the decisions of
both. The library is not used, as it checks one limit a call and cannot take from several limits all
or nothing; its memory storage also costs 52 µs for a request with two limits (110 µs with 10,000
end users, as a thread scans every counter each 10 ms), where this code costs 5 µs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from app.concurrency.locks import uncontended_lock
from app.limits.periods import Period
from app.limits.windows import Change, Reservation, Take, Taken, Window

#: Number of counters up to which expired ones are not removed.
MIN_COUNTERS_SWEPT = 1024


class MemoryWindows:
    """Counters of one process, which has a share of 1/``workers`` of each limit.

    The lock guards ``_counters``; nothing waits under it.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._workers, self._clock = workers, clock
        self._lock = uncontended_lock()
        #: By name: the period's number, its count, the count before, when to remove the counter.
        self._counters: dict[str, list[int]] = {}
        self._sweep_at = MIN_COUNTERS_SWEPT

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken:
        """Take from all windows, or from none; the reservation is not used."""
        now, refused = self._clock(), -1
        windows: list[Window] = []
        with self._lock:
            counters, workers = self._counters, self._workers
            for name, limit, period, cost in takes:
                number, start, end = period.span(now)
                slides = period.slides
                current, before = _counts_of(counters.get(name), number, slides)
                share = limit // workers or 1
                window = Window(share, number, start, end, current, before, now, slides)
                # A request may need more than a worker's share, and would always be refused; so
                # the whole limit decides while nothing is used.
                room = share if window.used >= 1 else limit
                # As if `used` were rounded down first: all other terms are whole numbers.
                if refused < 0 and window.used >= room - cost + 1:
                    refused = len(windows)
                windows.append(window)
            if refused < 0:
                for (name, _, period, cost), window in zip(takes, windows, strict=True):
                    window.current += cost
                    remove_at = math.ceil(window.end) + period.keep_s
                    counters[name] = [
                        window.period_number,
                        window.current,
                        window.before,
                        remove_at,
                    ]
                if len(counters) > self._sweep_at:
                    self._sweep(now)
        return Taken(refused, windows)

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        with self._lock:
            for name, period, number, taken, used in changes:
                kept = self._counters.get(name)
                # A sliding window still counts the period before, one of the calendar does not.
                if kept is not None and 0 <= kept[0] - number <= period.slides:
                    place = 1 + kept[0] - number  # 1: the current count, 2: the one before
                    kept[place] = max(0, kept[place] + used - taken)

    def claim(self, name: str, period: Period, period_number: int) -> bool:
        """Return True: each process warns of its own share."""
        return True

    def state(self) -> None:
        """Return None: memory does not fail."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _sweep(self, now: float) -> None:
        """Remove expired counters; the lock is held. It runs when their number has doubled."""
        self._counters = {name: kept for name, kept in self._counters.items() if kept[3] > now}
        self._sweep_at = max(MIN_COUNTERS_SWEPT, 2 * len(self._counters))


def _counts_of(kept: list[int] | None, period_number: int, slides: bool) -> tuple[int, int]:
    """Return the counts of this period and of the one before, which is 0 unless windows slide."""
    if kept is not None:
        if kept[0] == period_number:
            return kept[1], kept[2]
        if slides and kept[0] == period_number - 1:
            return 0, kept[1]
    return 0, 0
