"""Sums by name and time: the last hour, in buckets of five seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy

BUCKET_S = 5
BUCKETS = 3600 // BUCKET_S
#: Names of sums in one ring. With the buckets it bounds the memory: 1.5 MB.
MAX_COLUMNS = 256

#: The name of a sum: what is counted, and of what.
Labels = tuple[str, ...]


class Window(NamedTuple):
    """Consecutive buckets: the number of the first, and for each name an array with their sums.

    A bucket's number is its start, in seconds since 1970, divided by `BUCKET_S`. Names of which
    nothing was counted are left out.
    """

    first: int
    size: int
    columns: dict[Labels, Any]

    def slice(self, first: int, stop: int) -> Window:
        """Return the buckets with these numbers, without the last; empty ones where it has none."""
        size = max(0, stop - first)
        begin, end = max(first, self.first), min(stop, self.first + self.size)
        columns = {}
        for labels, values in self.columns.items():
            kept = numpy.zeros(size)
            if begin < end:
                kept[begin - first : end - first] = values[begin - self.first : end - self.first]
            if kept.any():
                columns[labels] = kept
        return Window(first, size, columns)


class Ring:
    """The sums of one process. It has no lock: `app.observability.live.figures` has.

    ``now`` is in seconds since 1970. Where the clock is set back, the open bucket stays open.
    """

    def __init__(self, now: float) -> None:
        #: The sums of the open bucket, by column: to be changed in place.
        self.open = [0.0] * MAX_COLUMNS
        self._columns: dict[Labels, int] = {}
        self._rows = numpy.zeros((BUCKETS, MAX_COLUMNS))
        self._numbers = numpy.full(BUCKETS, -1)  # of the bucket in each row
        self._set_number(now)

    def _set_number(self, now: float) -> None:
        self._number = int(now // BUCKET_S)
        self.open_until = (self._number + 1) * BUCKET_S  # seconds since 1970

    def column(self, *labels: str) -> int:
        """Return the column of a name; the last one, which is not shown, once all are taken."""
        found = self._columns.get(labels)
        if found is not None:
            return found
        if len(self._columns) >= MAX_COLUMNS - 1:
            return MAX_COLUMNS - 1
        self._columns[labels] = made = len(self._columns)
        return made

    def turn(self, now: float) -> None:
        """Close the open bucket, if it is over."""
        if now < self.open_until:
            return
        row = self._number % BUCKETS
        self._rows[row] = self.open
        self._numbers[row] = self._number
        self.open = [0.0] * MAX_COLUMNS
        self._set_number(now)

    def read(self, since: float, now: float) -> Window:
        """Return the buckets that begin at ``since`` or later, the open one too.

        At most those of an hour.
        """
        self.turn(now)
        oldest = self._number - BUCKETS + 1
        first = min(max(int(-(-since // BUCKET_S)), oldest), self._number)
        numbers = numpy.arange(first, self._number)
        closed = self._rows[numbers % BUCKETS]
        closed[self._numbers[numbers % BUCKETS] != numbers] = 0.0
        rows = numpy.vstack([closed, self.open])
        used: Any = rows.any(axis=0)
        columns = {
            labels: rows[:, column] for labels, column in self._columns.items() if used[column]
        }
        return Window(first, len(rows), columns)

    def totals(self, now: float) -> dict[Labels, float]:
        """Return the sums of the last hour, without those that are 0."""
        self.turn(now)
        is_recent = self._numbers > self._number - BUCKETS
        sums = (is_recent @ self._rows + self.open).tolist()
        return {labels: sums[column] for labels, column in self._columns.items() if sums[column]}


def merge(windows: Iterable[Window], first: int, stop: int) -> Window:
    """Return the sums of the windows of several processes in the buckets with these numbers."""
    merged = Window(first, max(0, stop - first), {})
    for window in windows:
        for labels, values in window.slice(first, stop).columns.items():
            before = merged.columns.get(labels)
            merged.columns[labels] = values if before is None else before + values
    return merged
