"""The statement of a report: whole hours from a rollup, the ends of its time from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import sqlalchemy as sa

from app.database.tables import HOUR_SUMS, hours, requests, user_hours
from app.usage.rollups import HOUR_MS

DAY_MS = 24 * HOUR_MS
_REFUSED = (401, 403, 429)
#: What a report groups by that is no column.
_DERIVED = ("day",)
#: Days between looks for a change of a time zone's offset: offsets stay longer than this.
_LOOK_DAYS = 7
#: Times outside have no change of offset that is looked for, in seconds since 1970.
_ZONES_SINCE_S, _ZONES_UNTIL_S = 946_684_800, 4_102_444_800  # 2000 to 2100


@dataclass(frozen=True, slots=True)
class Unusual:
    """More than this in an hour, by a key or an end user, is unusual; None: never."""

    requests: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        return self.requests is not None or self.tokens is not None

    def exceeded_by(
        self, asked: sa.ColumnElement[Any], tokens: sa.ColumnElement[Any]
    ) -> sa.ColumnElement[bool]:
        bounds = ((asked, self.requests), (tokens, self.tokens))
        return sa.or_(sa.false(), *(sums > most for sums, most in bounds if most is not None))


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is to sum up. Times are in milliseconds since 1970, ``until_ms`` excluded."""

    by: Sequence[str]
    since_ms: int
    until_ms: int
    key: str | None = None  # None: of all keys
    unusual: Unusual = Unusual()
    zone: tzinfo = UTC  # of days

    def statement(self) -> sa.Select[Any]:
        """Groups, most requests first. ``day`` is a date, as milliseconds of it in UTC."""
        part = self._parts().subquery()
        offsets = offsets_of(self.zone, self.since_ms, self.until_ms) if "day" in self.by else [0]
        groups = [_day(part.c.time, offsets) if name == "day" else part.c[name] for name in self.by]
        measures = measures_of(part.c)
        columns = [measure.label(name) for name, measure in measures.items()]
        if not self.unusual:
            statement = sa.select(*groups, *columns).group_by(*groups)
        else:
            hour = (part.c.time - part.c.time % HOUR_MS).label("hour")
            over = self.unusual.exceeded_by(measures["requests"], measures["prompt_tokens"])
            columns.append(sa.case((over, 1), else_=0).label("unusual_hours"))
            statement = _hours_together(
                self.by, sa.select(*groups, *columns).group_by(*groups, hour)
            )
        return statement.order_by(sa.desc("requests"), *self.by)

    def _parts(self) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """What the report sums up: a rollup's hours, and rows, each as a sum of one request."""
        first, end = -(-self.since_ms // HOUR_MS) * HOUR_MS, self.until_ms // HOUR_MS * HOUR_MS
        if first >= end or ("day" in self.by and not self._days_are_whole_hours()):
            return self._rows(self.since_ms, self.until_ms)
        parts = [self._hours(first, end)]
        edges = ((self.since_ms, first), (end, self.until_ms))
        parts += [self._rows(*edge) for edge in edges if edge[0] < edge[1]]
        return sa.union_all(*parts)

    def _days_are_whole_hours(self) -> bool:
        offsets = offsets_of(self.zone, self.since_ms, self.until_ms)
        return not any(offset % HOUR_MS for offset in offsets[::2])

    def _hours(self, since_ms: int, until_ms: int) -> sa.Select[Any]:
        rollup = user_hours if "user" in self.by else hours
        return self._select(rollup, rollup.c.hour, rollup.c.requests, since_ms, until_ms)

    def _rows(self, since_ms: int, until_ms: int) -> sa.Select[Any]:
        one = sa.literal_column("1", sa.BigInteger())
        return self._select(requests, requests.c.time, one, since_ms, until_ms)

    def _select(
        self,
        table: sa.Table,
        time: sa.ColumnElement[Any],
        number: sa.ColumnElement[Any],
        since_ms: int,
        until_ms: int,
    ) -> sa.Select[Any]:
        names = dict.fromkeys((*self.by, "status"))
        columns = [table.c[name] for name in names if name not in _DERIVED]
        sums = [table.c[name] for name in HOUR_SUMS]
        found = sa.select(time.label("time"), number.label("requests"), *columns, *sums)
        found = found.where(time >= since_ms, time < until_ms)
        return found if self.key is None else found.where(table.c.key == self.key)


def measures_of(columns: Any) -> dict[str, sa.ColumnElement[Any]]:
    """What a report shows, by name.

    The requests are those answered, refused (not allowed, over a limit), invalid (any other 4xx)
    and failed (5xx).
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


def _hours_together(by: Sequence[str], per_hour: sa.Select[Any]) -> sa.Select[Any]:
    part = per_hour.subquery()
    names = [column.name for column in part.c if column.name not in by]
    sums = [sa.func.sum(part.c[name]).label(name) for name in names]
    groups = [part.c[name] for name in by]
    return sa.select(*groups, *sums).group_by(*groups)


def _day(time: sa.ColumnElement[Any], offsets: Sequence[int]) -> sa.ColumnElement[Any]:
    """The date of a time in a zone with these offsets (see `offsets_of`)."""
    until = [(time < end, offset) for offset, end in zip(offsets[::2], offsets[1::2], strict=False)]
    here = time + (sa.case(*until, else_=offsets[-1]) if until else offsets[-1])
    return (here - here % DAY_MS).label("day")


def offsets_of(zone: tzinfo, since_ms: int, until_ms: int) -> list[int]:
    """The offsets of a zone from UTC between two times, and between each two when they change.

    All in milliseconds: offset, change, offset … The last is an offset.
    """
    if zone is UTC:
        return [0]
    since = min(max(since_ms // 1000, _ZONES_SINCE_S), _ZONES_UNTIL_S)
    until = min(max(until_ms // 1000, since), _ZONES_UNTIL_S)
    found = [_offset(zone, since)]
    at = since
    while at < until:
        after = min(at + _LOOK_DAYS * 86_400, until)
        if _offset(zone, after) != found[-1]:
            found += [_change(zone, at, after) * 1000, _offset(zone, after)]
        at = after
    return found


def _offset(zone: tzinfo, at: int) -> int:
    """Milliseconds."""
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta(0)
    return round(offset.total_seconds() * 1000)


def _change(zone: tzinfo, before: int, after: int) -> int:
    """The second between these two at which the offset changes."""
    old = _offset(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after
