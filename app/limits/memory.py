"""How much of something has been used in a window: the last minute, this day or this month.

The days and months are the calendar's (`app.limits.periods`); a minute slides. The algorithm of
sliding is the `limits` library's sliding window counter, and tests hold it to the library's
decisions. The code is our own, since the library decides one limit a call, cannot take from several
at once or not at all, and its memory costs 52 µs for a request with two limits (110 µs with 10,000
end users: a thread every 10 ms looks at every counter); this one costs 5 µs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.concurrency.locks import uncontended_lock
from app.limits.periods import Period

#: Seconds by which a count has fallen below a number and not only to it.
_BELOW = 0.001
#: Counters below which nobody looks for those that have expired.
_FEW = 1024


class Take(NamedTuple):
    """What is wanted of a window: ``cost``, if then no more than ``limit`` is used."""

    name: str
    limit: int
    period: Period
    cost: int


class Reservation(NamedTuple):
    """What a request takes before it is served, until it is settled or so many seconds have passed.

    It expires, so that a worker that was killed holds nothing back for the rest of a month.
    """

    id: str
    seconds: float


class Change(NamedTuple):
    """What was used in the place of what was taken, in the period with this number."""

    name: str
    period: Period
    number: int
    taken: int
    used: int


@dataclass(slots=True)
class Window:
    """A window as it was at ``now``: the counts of this period and of the one before.

    Of the period before, a window that slides counts the part that still reaches into it, as if
    its use had been even. A period is then as long as the window, and counted from 1970. A window
    of the calendar counts nothing of it: ``before`` is 0.
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
    def left(self) -> int:
        left = self.limit - math.floor(self.used)
        return left if left > 0 else 0

    def time_to_fit(self, room: int) -> float:
        """Seconds until no more than ``room`` is used, if nothing is added."""
        enough = room + 1  # what is used is rounded down, so this is what it has to fall below
        if self.used < enough:
            return 0.0
        rest, seconds = self.end - self.now, self.end - self.start
        if not self.slides:
            wait = rest
        elif self.current < enough:
            wait = rest - (enough - self.current) * seconds / self.before
        else:  # not within this period: from its end on, its own count fades
            wait = rest + (1 - enough / self.current) * seconds
        return wait + _BELOW


class Taken(NamedTuple):
    """The windows after a take; ``refused`` is the place of the first that was too full, or -1."""

    refused: int
    windows: list[Window]


class WindowsState(NamedTuple):
    """Of counters in a server, since the start of this process."""

    unchecked: int  # takes that nobody decided: let in
    dropped: int  # corrections that were lost
    away: bool  # the server, now


class Windows(Protocol):
    """Counters. Takes from several are all or nothing, also between threads and processes."""

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken | None:
        """Take, or take nothing where one is too full; None where nobody can tell."""

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        """Correct what was taken, whatever the limit; never waits. It ends the reservation."""

    def claim(self, name: str, period: Period, number: int) -> bool:
        """Whether this process is the first to claim a window's period, to warn of it once.

        It may wait for a server. True where that cannot be known: better twice than not at all.
        """

    def state(self) -> WindowsState | None:
        """For metrics; None where nothing can go wrong."""

    def close(self) -> None:
        """Let go of what is held."""


class MemoryWindows:
    """Counters of one process, each holding it to its share of the limits.

    ``workers`` processes share them. The lock guards ``_counts``; nothing waits under it.
    """

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.time) -> None:
        self._workers, self._clock = workers, clock
        self._lock = uncontended_lock()
        #: By name: the period's number, its count, that of the one before, when to forget them.
        self._counts: dict[str, list[int]] = {}
        self._sweep_at = _FEW

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken:
        """Reservations are not looked at: what this process has taken ends with it."""
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
                # A share may be less than one request, so the whole limit decides on the first:
                # a request that will never fit a worker's share would be refused for ever.
                room = share if window.used >= 1 else limit
                # As if what is used were rounded down first: all others are whole numbers.
                if refused < 0 and window.used >= room - cost + 1:
                    refused = len(windows)
                windows.append(window)
            if refused < 0:
                for (name, _, period, cost), window in zip(takes, windows, strict=True):
                    window.current += cost
                    forget = math.ceil(window.end) + period.keep_s
                    counts[name] = [window.index, window.current, window.before, forget]
                if len(counts) > self._sweep_at:
                    self._sweep(now)
        return Taken(refused, windows)

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        with self._lock:
            for name, period, number, taken, used in changes:
                kept = self._counts.get(name)
                # What was taken two periods ago counts no more; by the calendar, one ago.
                if kept is not None and 0 <= kept[0] - number <= period.slides:
                    place = 1 + kept[0] - number
                    kept[place] = max(0, kept[place] + used - taken)

    def claim(self, name: str, period: Period, number: int) -> bool:
        """True: each process warns of its share."""
        return True

    def state(self) -> None:
        """Nothing can go wrong."""

    def close(self) -> None:
        """Nothing is held."""

    def _sweep(self, now: float) -> None:
        """Forget what has expired. Rare enough that a take pays next to nothing for it."""
        self._counts = {name: kept for name, kept in self._counts.items() if kept[3] > now}
        self._sweep_at = max(_FEW, 2 * len(self._counts))


def _counts(kept: list[int] | None, index: int, slides: bool) -> tuple[int, int]:
    """The counts of this period and, where windows slide, of the one before."""
    if kept is not None:
        if kept[0] == index:
            return kept[1], kept[2]
        if slides and kept[0] == index - 1:
            return 0, kept[1]
    return 0, 0
