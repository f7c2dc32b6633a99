"""`Counted`: what a worker has counted, as it goes from one worker to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from app.observability.live.figures import MAX_MARKS, Mark
from app.observability.live.ring import BUCKET_S, BUCKETS, Labels, Window, merge

#: Ejections of a deployment within so many seconds, by several workers, are one mark.
SAME_MARK_S = 10.0


class Counted(NamedTuple):
    """The figures of a worker, or of several that have ended."""

    window: Window
    totals: Mapping[Labels, float]  # of the last hour
    marks: Sequence[Mark]
    today: tuple[float, int]  # when it began, and what was spent since: billionths of a dollar
    waiting: Mapping[str, int]  # attempts by tier, now

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        window = {**self.window._asdict(), "columns": _columns(self.window)}
        marks = [tuple(mark) for mark in self.marks]  # orjson takes no other class
        totals = list(self.totals.items())
        return {**self._asdict(), "window": window, "totals": totals, "marks": marks}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Counted:
        """Return the figures that `to_json` made this of."""
        window = given["window"]
        columns = {tuple(labels): numpy.array(values) for labels, values in window["columns"]}
        begun, spent = given["today"]
        return cls(
            Window(window["first"], window["size"], columns),
            {tuple(labels): value for labels, value in given["totals"]},
            [Mark(*mark) for mark in given["marks"]],
            (begun, spent),
            given["waiting"],
        )

    def of_last_hour(self, now: float) -> Counted:
        """Return those of ended workers, whose totals are no longer those of the last hour."""
        stop = int(now // BUCKET_S) + 1
        window = self.window.slice(stop - BUCKETS, stop)
        totals = {labels: float(values.sum()) for labels, values in window.columns.items()}
        return self._replace(window=window, totals=totals)


def add_up(counted: Sequence[Counted], first: int, stop: int) -> Counted:
    """Return the sums of several workers; the window has the buckets with these numbers."""
    totals: dict[Labels, float] = {}
    waiting: dict[str, int] = {}
    for one in counted:
        for labels, value in one.totals.items():
            totals[labels] = totals.get(labels, 0.0) + value
        for tier, number in one.waiting.items():
            waiting[tier] = waiting.get(tier, 0) + number
    begun = max((one.today[0] for one in counted), default=0.0)
    spent = sum(one.today[1] for one in counted if one.today[0] == begun)
    window = merge((one.window for one in counted), first, stop)
    return Counted(
        window, totals, merge_marks(one.marks for one in counted), (begun, spent), waiting
    )


def merge_marks(marks: Iterable[Sequence[Mark]]) -> list[Mark]:
    """Return the newest marks of several workers in order; what several have seen is one."""
    last: dict[tuple[str, ...], float] = {}
    merged: list[Mark] = []
    for mark in sorted(mark for one in marks for mark in one):
        seen = last.get(mark[1:])
        if seen is None or mark.at - seen > SAME_MARK_S:
            merged.append(mark)
        last[mark[1:]] = mark.at
    return merged[-MAX_MARKS:]


def _columns(window: Window) -> list[tuple[Labels, list[float]]]:
    return [(labels, values.tolist()) for labels, values in window.columns.items()]
