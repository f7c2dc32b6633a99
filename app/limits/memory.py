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
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.concurrency.locks import uncontended_lock
from app.limits.periods import Period

#: Seconds added to a wait, so that a count has fallen below a number and is not equal to it.
MARGIN_S = 0.001
#: Number of counters up to which expired ones are not removed.
MIN_COUNTERS_SWEPT = 1024


class Take(NamedTuple):
    """A request to add ``cost`` to a counter if no more than ``limit`` is used then."""

    name: str
    limit: int
    period: Period
    cost: int


class Reservation(NamedTuple):
    """The id of what a request has taken, and the seconds after which that expires.

    It ends when the request is settled. It expires if the worker is killed before that; without
    expiry the usage would be counted for the rest of a month.
    """

    id: str
    seconds: float


class Change(NamedTuple):
    """The usage that replaces what was taken, in the period with this number."""

    name: str
    period: Period
    number: int
    taken: int
    used: int


@dataclass(slots=True)
class Window:
    """A window at the time ``now``: the counts of the current period and of the one before.

    There are two cases: (1) a sliding window is as long as a period, and periods are counted from
    1970; of the period before it counts the share that the window still covers, as if the usage
    were spread evenly. (2) A window of the calendar is the current period; ``before`` is 0.
    """

    limit: int
    index: int
    start: float
    end: float
    current: int
    before: int
    now: float
    slides: bool

    @property
    def used(self) -> float:
        if not self.before:
            return self.current
        return self.before * (self.end - self.now) / (self.end - self.start) + self.current

    @property
    def remaining(self) -> int:
        remaining = self.limit - math.floor(self.used)
        return remaining if remaining > 0 else 0

    def time_to_fit(self, room: int) -> float:
        """Return the seconds until no more than ``room`` is used, if nothing is added.

        There are four cases: (1) that is so now; (2) a window of the calendar: when it ends; (3) a
        sliding window whose current count fits: within this period, as the count of the one before
        decreases; (4) else in the next period, as the current count decreases.
        """
        bound = room + 1  # `used` is rounded down, so it has to fall below this
        if self.used < bound:
            return 0.0
        rest_s, period_s = self.end - self.now, self.end - self.start
        if not self.slides:
            wait_s = rest_s
        elif self.current < bound:
            wait_s = rest_s - (bound - self.current) * period_s / self.before
        else:
            wait_s = rest_s + (1 - bound / self.current) * period_s
        return wait_s + MARGIN_S


class Taken(NamedTuple):
    """The windows after a take; ``refused`` is the index of the first that was too full, or -1."""

    refused: int
    windows: list[Window]


class WindowsState(NamedTuple):
    """Failures of the server that counts, since the start of this process."""

    unchecked: int  # takes without a reply
    dropped: int  # corrections that were lost
    away: bool  # the server does not answer now


class Windows(Protocol):
    """Counters of windows. A take from several is atomic over threads and processes."""

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken | None:
        """Take from all windows, or from none if one is too full; None: the server is silent."""

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        """Correct what was taken, regardless of limits, and end the reservation. Never waits."""

    def claim(self, name: str, period: Period, number: int) -> bool:
        """Return whether this process is the first to claim a period of a window.

        It may wait for a server; without a reply it returns True, as two warnings of one soft limit
        are better than none.
        """

    def state(self) -> WindowsState | None:
        """Return the failures, for metrics; None if the counters need no server."""

    def close(self) -> None:
        """Close connections."""


class MemoryWindows:
    """Counters of one process, which has a share of 1/``workers`` of each limit.

    The lock guards ``_counts``; nothing waits under it.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._workers, self._clock = workers, clock
        self._lock = uncontended_lock()
        #: By name: the period's number, its count, the count before, when to remove the counter.
        self._counts: dict[str, list[int]] = {}
        self._sweep_at = MIN_COUNTERS_SWEPT

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken:
        """Take from all windows, or from none; the reservation is not used."""
        now, refused = self._clock(), -1
        windows: list[Window] = []
        with self._lock:
            counts, workers = self._counts, self._workers
            for name, limit, period, cost in takes:
                index, start, end = period.span(now)
                slides = period.slides
                current, before = _counts(counts.get(name), index, slides)
                share = limit // workers or 1
                window = Window(share, index, start, end, current, before, now, slides)
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
                    counts[name] = [window.index, window.current, window.before, remove_at]
                if len(counts) > self._sweep_at:
                    self._sweep(now)
        return Taken(refused, windows)

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        with self._lock:
            for name, period, number, taken, used in changes:
                kept = self._counts.get(name)
                # A sliding window still counts the period before, one of the calendar does not.
                if kept is not None and 0 <= kept[0] - number <= period.slides:
                    index = 1 + kept[0] - number
                    kept[index] = max(0, kept[index] + used - taken)

    def claim(self, name: str, period: Period, number: int) -> bool:
        """Return True: each process warns of its own share."""
        return True

    def state(self) -> None:
        """Return None: memory does not fail."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _sweep(self, now: float) -> None:
        """Remove expired counters; the lock is held. It runs when their number has doubled."""
        self._counts = {name: kept for name, kept in self._counts.items() if kept[3] > now}
        self._sweep_at = max(MIN_COUNTERS_SWEPT, 2 * len(self._counts))


def _counts(kept: list[int] | None, index: int, slides: bool) -> tuple[int, int]:
    """Return the counts of this period and of the one before, which is 0 unless windows slide."""
    if kept is not None:
        if kept[0] == index:
            return kept[1], kept[2]
        if slides and kept[0] == index - 1:
            return 0, kept[1]
    return 0, 0
