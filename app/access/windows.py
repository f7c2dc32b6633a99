"""Sliding windows: how much of something has been used in the last minute, day or month.

The algorithm is the `limits` library's sliding window counter, and tests hold it to the library's
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

from app.mutex import mutex

#: Seconds by which a count has fallen below a number and not only to it.
_BELOW = 0.001
#: Counters below which nobody looks for those that have expired.
_FEW = 1024


class Take(NamedTuple):
    """What is wanted of a window: ``cost``, if then no more than ``limit`` is used."""

    name: str
    limit: int
    seconds: int  # the window's length
    cost: int


class Change(NamedTuple):
    """More or less used than was taken, in a period of a window."""

    name: str
    seconds: int
    period: int
    amount: int


@dataclass(slots=True)
class Window:
    """A window as it was at ``now``: the counts of this period and of the one before.

    Periods are as long as the window and counted from 1970. Of the period before, the part counts
    that still reaches into the window, as if its use had been even.
    """

    limit: int
    seconds: int
    index: int
    current: int
    before: int
    now: float

    @property
    def _rest(self) -> float:
        """Seconds that this period has left: of ``now``, whose period it is, so all or a part."""
        return (self.index + 1) * self.seconds - self.now

    @property
    def used(self) -> float:
        if not self.before:
            return self.current
        return self.before * self._rest / self.seconds + self.current

    @property
    def left(self) -> int:
        left = self.limit - math.floor(self.used)
        return left if left > 0 else 0

    def time_to_fit(self, room: int) -> float:
        """Seconds until no more than ``room`` is used, if nothing is added."""
        enough = room + 1  # what is used is rounded down, so this is what it has to fall below
        if self.used < enough:
            return 0.0
        if self.current < enough:
            wait = self._rest - (enough - self.current) * self.seconds / self.before
        else:  # not within this period: from its end on, its own count fades
            wait = self._rest + (1 - enough / self.current) * self.seconds
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

    def take(self, takes: Sequence[Take]) -> Taken | None:
        """Take, or take nothing where one is too full; None where nobody can tell."""

    def change(self, changes: Sequence[Change]) -> None:
        """Correct what was taken, whatever the limit; never waits."""

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
        self._lock = mutex()
        self._counts: dict[str, list[int]] = {}  # name → period, its count, the one before, seconds
        self._sweep_at = _FEW

    def take(self, takes: Sequence[Take]) -> Taken:
        now, refused = self._clock(), -1
        windows: list[Window] = []
        with self._lock:
            counts, workers = self._counts, self._workers
            for name, limit, seconds, cost in takes:
                index = int(now // seconds)
                current, before = _counts(counts.get(name), index)
                share = limit // workers or 1
                window = Window(share, seconds, index, current, before, now)
                # As if what is used were rounded down first: all others are whole numbers.
                if refused < 0 and window.used >= share - cost + 1:
                    refused = len(windows)
                windows.append(window)
            if refused < 0:
                for (name, _, seconds, cost), window in zip(takes, windows, strict=True):
                    window.current += cost
                    counts[name] = [window.index, window.current, window.before, seconds]
                if len(counts) > self._sweep_at:
                    self._sweep(now)
        return Taken(refused, windows)

    def change(self, changes: Sequence[Change]) -> None:
        with self._lock:
            for name, _, index, amount in changes:
                kept = self._counts.get(name)
                # What was taken two periods ago counts no more.
                if kept is not None and 0 <= kept[0] - index <= 1:
                    place = 1 + kept[0] - index
                    kept[place] = max(0, kept[place] + amount)

    def state(self) -> None:
        """Nothing can go wrong."""

    def close(self) -> None:
        """Nothing is held."""

    def _sweep(self, now: float) -> None:
        """Forget what has expired. Rare enough that a take pays next to nothing for it."""
        self._counts = {
            name: kept for name, kept in self._counts.items() if (kept[0] + 2) * kept[3] > now
        }
        self._sweep_at = max(_FEW, 2 * len(self._counts))


def _counts(kept: list[int] | None, index: int) -> tuple[int, int]:
    """The counts of this period and of the one before."""
    if kept is not None:
        if kept[0] == index:
            return kept[1], kept[2]
        if kept[0] == index - 1:
            return 0, kept[1]
    return 0, 0
