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

from msgspec import Struct

from app.concurrency.locks import uncontended_lock
from app.limits.counters.windows import Change, Take, Taken, UsageReservation, Window
from app.limits.periods import Period

#: Number of counters up to which expired ones are not removed.
MIN_COUNTERS_SWEPT = 1024


class _Counter(Struct):
    """The counts of a window: of its last period, and of the period before that."""

    period_number: int
    current: int
    before: int
    remove_at: int  # seconds since 1970


class MemoryWindows:
    """Counters of one process, which has a share of 1/``workers`` of each limit.

    The lock guards ``_counters``; nothing waits under it.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._workers, self._clock = workers, clock
        self._lock = uncontended_lock()
        self._counters: dict[str, _Counter] = {}  # by name
        self._sweep_at = MIN_COUNTERS_SWEPT

    def take(self, takes: Sequence[Take], reservation: UsageReservation | None = None) -> Taken:
        """Take from all windows, or from none; the reservation is not used."""
        now, refused = self._clock(), -1
        windows: list[Window] = []
        with self._lock:
            counters, workers = self._counters, self._workers
            for name, limit, period, cost in takes:
                number, start, end = period.span(now)
                is_calendar = period.is_calendar
                current, before = _counts_of(counters.get(name), number, is_calendar)
                share = limit // workers or 1
                window = Window(share, number, start, end, current, before, now, is_calendar)
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
                    counters[name] = _Counter(
                        window.period_number, window.current, window.before, remove_at
                    )
                if len(counters) > self._sweep_at:
                    self._sweep(now)
        return Taken(refused, windows)

    def change(
        self, changes: Sequence[Change], reservation: UsageReservation | None = None
    ) -> None:
        with self._lock:
            for name, period, number, taken, used in changes:
                counter = self._counters.get(name)
                if counter is None:
                    continue
                if counter.period_number == number:
                    counter.current = max(0, counter.current + used - taken)
                elif counter.period_number == number + 1 and not period.is_calendar:
                    counter.before = max(0, counter.before + used - taken)

    def claim(self, name: str, period: Period, period_number: int) -> bool:
        """Return True: each process warns of its own share."""
        return True

    def state(self) -> None:
        """Return None: memory does not fail."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _sweep(self, now: float) -> None:
        """Remove expired counters; the lock is held. It runs when their number has doubled."""
        self._counters = {name: c for name, c in self._counters.items() if c.remove_at > now}
        self._sweep_at = max(MIN_COUNTERS_SWEPT, 2 * len(self._counters))


def _counts_of(counter: _Counter | None, period_number: int, is_calendar: bool) -> tuple[int, int]:
    """Return the counts of this period and of the one before, which is 0 in the calendar."""
    if counter is not None:
        if counter.period_number == period_number:
            return counter.current, counter.before
        if counter.period_number == period_number - 1 and not is_calendar:
            return 0, counter.current
    return 0, 0
