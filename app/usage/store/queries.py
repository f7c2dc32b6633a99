"""Builds the SQL statement of a report.

It sums up whole hours from a rollup, and the incomplete hours at both ends from the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import sqlalchemy as sa

from app.database.tables import HOUR_SUMS, requests
from app.usage.store.rollups import HOUR_MS, rollup_with

DAY_MS = 24 * HOUR_MS
_REFUSED = (401, 403, 429)
#: Step in days of the search for changes of a time zone's offset: no offset lasts less.
OFFSET_SEARCH_STEP_DAYS = 7
#: Changes of an offset are searched only between these times, in seconds since 1970.
_ZONES_SINCE_S, _ZONES_UNTIL_S = 946_684_800, 4_102_444_800  # 2000 to 2100


@dataclass(frozen=True, slots=True)
class VolumeLimits:
    """Requests and tokens of a key or an end user in an hour; more are unusual. None: no limit."""

    requests: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        return self.requests is not None or self.tokens is not None

    def exceeded_by(
        self, number: sa.ColumnElement[Any], tokens: sa.ColumnElement[Any]
    ) -> sa.ColumnElement[bool]:
        """Return the SQL condition that a number of requests or of tokens is above its limit."""
        bounds = ((number, self.requests), (tokens, self.tokens))
        return sa.or_(
            sa.false(), *(amount > limit for amount, limit in bounds if limit is not None)
        )


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """The groups and the time of a report.

    Times are in milliseconds since 1970; ``until_ms`` is excluded.
    """

    by: Sequence[str]
    since_ms: int
    until_ms: int
    key: str | None = None  # None: of all keys
    unusual: VolumeLimits = VolumeLimits()
    zone: tzinfo = UTC  # of days
    #: By the name of a dimension, the values to include; without it all are.
    only: Mapping[str, Collection[str | int]] = field(default_factory=dict)
    order: str = "requests"  # a dimension, or one of `MEASURES`
    is_ascending: bool = False

    def statement(self) -> sa.Select[Any]:
        """Return the statement for the groups, in ``order``.

        ``day`` is the start of a date, as if that were in UTC, ``hour`` that of an hour of UTC,
        both in milliseconds.
        """
        parts = self._parts()
        # Each part is summed up by itself, as narrow as the groups are: a database passes on the
        # few sums and not every row. By status as well, from which refusals are counted then.
        sums = sa.union_all(*map(self._sums, parts)).subquery()
        groups = [sums.c[name] for name in self.by]
        measures = [measure.label(name) for name, measure in measures_of(sums.c).items()]
        statement = sa.select(*groups, *measures).group_by(*groups)
        if self.unusual:
            statement = self._with_unusual_hours(statement.subquery(), parts)
        found = statement.subquery()
        return sa.select(found).order_by(self._order(found.c), *(found.c[name] for name in self.by))

    def _order(self, columns: Any) -> sa.ColumnElement[Any]:
        ratios = {"mean_ms": columns.ms, "error_rate": columns.failed}
        if self.order in ratios:
            ordered: sa.ColumnElement[Any] = ratios[self.order] * 1.0 / columns.requests
        else:
            ordered = columns[self.order]
        return ordered.asc() if self.is_ascending else ordered.desc()

    def within(self, since_ms: int, until_ms: int) -> ReportQuery:
        """Return the same query for the part of its time that lies between these times."""
        since_ms, until_ms = max(since_ms, self.since_ms), min(until_ms, self.until_ms)
        return replace(self, since_ms=since_ms, until_ms=until_ms)

    def _parts(self) -> list[_Part]:
        """Return what the report sums up. There are three cases:

        1. No whole hour lies in the time, days do not begin at whole hours, or no rollup has the
           groups (end users with service tiers): only rows.
        2. The time begins and ends at whole hours: only the rollup.
        3. Otherwise the rollup, and the rows of the incomplete hours at the ends. A row counts as
           an hour with one request.

        An hour is never in two parts.
        """
        first, end = -(-self.since_ms // HOUR_MS) * HOUR_MS, self.until_ms // HOUR_MS * HOUR_MS
        offsets = [0]
        if "day" in self.by:
            offsets = offsets_of(self.zone, self.since_ms, self.until_ms)
        rollup = rollup_with({*self.by, *self.only})
        if rollup is None or first >= end or any(offset % HOUR_MS for offset in offsets[::2]):
            return [_rows(self.since_ms, self.until_ms, offsets)]
        edges = ((self.since_ms, first), (end, self.until_ms))
        return [
            _Part(rollup, rollup.c.hour, rollup.c.hour, rollup.c.requests, first, end, offsets),
            *(_rows(*edge, offsets) for edge in edges if edge[0] < edge[1]),
        ]

    def _sums(self, part: _Part) -> sa.Select[Any]:
        """Return the sums of a part by group and status."""
        keys = self._groups(part)
        if "status" not in self.by:
            keys.append(part.table.c.status)
        sums = [sa.func.sum(part.table.c[name]).label(name) for name in HOUR_SUMS]
        number = sa.func.sum(part.number).label("requests")
        return self._within(part, sa.select(*keys, number, *sums)).group_by(*keys)

    def _with_unusual_hours(self, found: sa.Subquery, parts: Sequence[_Part]) -> sa.Select[Any]:
        """Add to each group the number of hours in which it exceeded the volume limits."""
        unusual = sa.union_all(*map(self._unusual_hours, parts)).subquery()
        groups = [unusual.c[name] for name in self.by]
        number = sa.func.count().label("number")  # names no column: without groups, no table either
        counting = sa.select(*groups, number).select_from(unusual).group_by(*groups)
        counted = counting.subquery()
        same = [found.c[name] == counted.c[name] for name in self.by]
        hours_over = sa.func.coalesce(counted.c.number, 0).label("unusual_hours")
        joined = found.outerjoin(counted, sa.and_(sa.true(), *same))
        return sa.select(found, hours_over).select_from(joined)

    def _unusual_hours(self, part: _Part) -> sa.Select[Any]:
        """Return a row for each hour of a group that exceeds the volume limits."""
        keys = self._groups(part)
        start = part.start.label("start")
        tokens = sa.func.sum(part.table.c.prompt_tokens)
        over = self.unusual.exceeded_by(sa.func.sum(part.number), tokens)
        return self._within(part, sa.select(start, *keys)).group_by(start, *keys).having(over)

    def _groups(self, part: _Part) -> list[sa.ColumnElement[Any]]:
        times = {"day": _day(part.time, part.offsets), "hour": part.start.label("hour")}
        return [times[name] if name in times else part.table.c[name] for name in self.by]

    def _within(self, part: _Part, statement: sa.Select[Any]) -> sa.Select[Any]:
        statement = statement.where(part.time >= part.since_ms, part.time < part.until_ms)
        statement = statement.where(*(part.table.c[name].in_(v) for name, v in self.only.items()))
        return statement if self.key is None else statement.where(part.table.c.key == self.key)


@dataclass(frozen=True, slots=True)
class _Part:
    """A time span of one table: a rollup or the ledger's rows. ``until_ms`` is excluded."""

    table: sa.Table
    time: sa.ColumnElement[Any]
    start: sa.ColumnElement[Any]  # of the hour
    number: sa.ColumnElement[Any]  # of requests
    since_ms: int
    until_ms: int
    offsets: Sequence[int]  # of the zone of days: see `offsets_of`


def _rows(since_ms: int, until_ms: int, offsets: Sequence[int]) -> _Part:
    one = sa.literal_column("1", sa.BigInteger())
    time = requests.c.time
    return _Part(requests, time, time - time % HOUR_MS, one, since_ms, until_ms, offsets)


#: What a report can be ordered by, besides its dimensions. Ratios are formed by `report.readable`.
MEASURES = (
    *("requests", "refused", "invalid", "failed", *HOUR_SUMS),
    *("mean_ms", "error_rate"),
)


def measures_of(columns: Any) -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns that a report sums up, by name.

    Requests are also counted by result: refused (not allowed, over a limit), invalid (any other
    4xx) and failed (5xx).
    """
    status = columns.status
    is_refused = status.in_(_REFUSED)

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        return sa.func.sum(sa.case((condition, columns.requests), else_=0))

    return {
        "requests": sa.func.sum(columns.requests),
        "refused": count(is_refused),
        "invalid": count(sa.and_(status.between(400, 499), sa.not_(is_refused))),
        "failed": count(status >= 500),
        **{name: sa.func.sum(columns[name]) for name in HOUR_SUMS},
    }


def _day(time: sa.ColumnElement[Any], offsets: Sequence[int]) -> sa.ColumnElement[Any]:
    """Return the date of a time in a zone with these offsets (see `offsets_of`)."""
    until = [(time < end, offset) for offset, end in zip(offsets[::2], offsets[1::2], strict=False)]
    local_time = time + (sa.case(*until, else_=offsets[-1]) if until else offsets[-1])
    return (local_time - local_time % DAY_MS).label("day")


def offsets_of(zone: tzinfo, since_ms: int, until_ms: int) -> list[int]:
    """Return the offsets of a zone from UTC between two times, and the times of their changes.

    They alternate, in milliseconds: offset, change, offset … The last is an offset.
    """
    if zone is UTC:
        return [0]
    since = min(max(since_ms // 1000, _ZONES_SINCE_S), _ZONES_UNTIL_S)
    until = min(max(until_ms // 1000, since), _ZONES_UNTIL_S)
    found = [_offset(zone, since)]
    at = since
    while at < until:
        after = min(at + OFFSET_SEARCH_STEP_DAYS * 86_400, until)
        if _offset(zone, after) != found[-1]:
            found += [_change(zone, at, after) * 1000, _offset(zone, after)]
        at = after
    return found


def _offset(zone: tzinfo, at: int) -> int:
    """Return the offset at a time, in milliseconds."""
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta(0)
    return round(offset.total_seconds() * 1000)


def _change(zone: tzinfo, before: int, after: int) -> int:
    """Return the second between these two at which the offset changes, by bisection."""
    old = _offset(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after
