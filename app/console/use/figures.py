"""The figures of the page Use: totals, a table of groups, and bars over time, of a few reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.console.use.columns import TIMES
from app.console.use.query import Asked
from app.usage.reports.report import milliseconds, readable
from app.usage.reports.reporter import MAX_GROUPS, Report
from app.usage.store.queries import DAY_MS, VolumeLimits
from app.usage.store.rollups import HOUR_MS

#: Groups that have a colour of their own in the bars; the others share one.
MAX_SERIES = 5
#: Bars that are shown: 400 days begin within a day, and end in the 401st. Of more, the last ones.
MAX_BUCKETS = 401

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the bars: ``value`` of the first dimension; None: all others together."""

    value: str | int | None
    values: Sequence[float]  # one for each bucket


@dataclass(frozen=True, slots=True)
class Figures:
    """What the page shows. ``buckets`` are the times of the bars, in milliseconds."""

    totals: Row | None  # None: no requests in that time
    groups: Sequence[Row]
    is_cut: bool  # there are more groups
    buckets: Sequence[int]
    series: Sequence[Series]


def figures_of(report: Report, asked: Asked, unusual: VolumeLimits) -> Figures:
    """Make the reports. The series add up to the totals, as do the groups unless they are cut."""
    grain, measure = asked.grain, asked.measure
    rows_over_time = report(asked.query((grain,)))
    if not rows_over_time:
        return Figures(None, (), False, (), ())
    totals = {n: sum(row[n] for row in rows_over_time) for n in rows_over_time[0] if n != grain}
    groups = report(asked.groups(unusual))
    over_time = {row[grain]: row for row in rows_over_time}
    buckets = buckets_of(asked, sorted(over_time))
    told_apart = next((name for name in asked.by if name not in TIMES), None)
    series = []
    if told_apart is not None:
        top = _top(report, asked, told_apart, groups)
        series = _top_series(report, asked, told_apart, top, buckets)
    rest = [over_time.get(at, {}).get(measure, 0) for at in buckets]
    for one in series:
        rest = [max(0, r - v) for r, v in zip(rest, one.values, strict=True)]
    if any(rest) or not series:
        series.append(Series(None, rest))
    if measure == "cost":  # billionths in the ledger
        series = [Series(one.value, [value / 1e9 for value in one.values]) for one in series]
    rows = [readable(row, asked.zone) for row in groups]
    is_cut = len(groups) == MAX_GROUPS
    return Figures(readable(totals), rows, is_cut, buckets, series)


def _top(report: Report, asked: Asked, dimension: str, groups: Sequence[Row]) -> list[Any]:
    """Return the values of a dimension with the most of the measure, at most `MAX_SERIES`."""
    if len(groups) == MAX_GROUPS:  # some may be missing
        groups = report(asked.query((dimension,), order=asked.measure))
    sums: Counter[Any] = Counter()
    for row in groups:
        sums[row[dimension]] += row[asked.measure]
    return [value for value, amount in sums.most_common(MAX_SERIES) if amount]


def _top_series(
    report: Report, asked: Asked, dimension: str, top: Sequence[Any], buckets: Sequence[int]
) -> list[Series]:
    """Return the values of these groups over time."""
    if not top:
        return []
    grain = asked.grain
    query = asked.query((grain, dimension), only={dimension: top}, order=grain, is_ascending=True)
    found = {(row[dimension], row[grain]): row[asked.measure] for row in report(query)}
    return [Series(name, [found.get((name, at), 0) for at in buckets]) for name in top]


def buckets_of(asked: Asked, with_rows: Sequence[int]) -> list[int]:
    """Return the times of all bars between the two times, also of those without requests.

    A day is the start of a date as if in UTC, an hour one of UTC: see `ReportQuery.statement`. Bars
    before the first request are left out where there would be too many.
    """
    last = asked.until - timedelta(milliseconds=1)
    if asked.grain == "hour":
        first_ms, last_ms, step = milliseconds(asked.since), milliseconds(last), HOUR_MS
    else:
        first_ms, last_ms = _day_ms(asked.since.date()), _day_ms(last.date())
        step = DAY_MS
    first_ms -= first_ms % step
    if with_rows:
        last_ms = max(last_ms, with_rows[-1])
        first_ms = min(first_ms, with_rows[0])
        if (last_ms - first_ms) // step >= MAX_BUCKETS:
            first_ms, last_ms = with_rows[0], with_rows[-1]
    return list(range(first_ms, last_ms + 1, step))[-MAX_BUCKETS:]


def _day_ms(day: date) -> int:
    return milliseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
