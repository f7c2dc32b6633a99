"""What the ledger asks of its database: put rows in, sum them up, let old ones go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.usage.database import Database, Refused
from app.usage.record import COLUMNS, Row
from app.usage.tables import requests

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: Rows deleted in one transaction, so that nobody waits long for it.
_PURGE = 5_000

_REFUSED = (401, 403, 429)

_c = requests.c


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


#: What a report shows. The requests are those answered, refused (no or a wrong key, not allowed,
#: over a limit), invalid (any other 4xx) and failed (5xx).
MEASURES: dict[str, sa.ColumnElement[Any]] = {
    "requests": sa.func.count(),
    "refused": _count(_c.status.in_(_REFUSED)),
    "invalid": _count(sa.and_(_c.status.between(400, 499), _c.status.not_in(_REFUSED))),
    "failed": _count(_c.status >= 500),
    **{
        name: sa.func.sum(_c[name])
        for name in ("items", "prompt_tokens", "billed_tokens", "cached_tokens", "cost", "ms")
    },
}


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


class Store:
    """Every method raises `Unavailable` where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = sqlite if database.is_sqlite else postgresql
        self._insert = dialect.insert(requests).on_conflict_do_nothing()
        compiled = self._insert.compile(dialect=database.engine.dialect)
        self._positional = str(compiled) if compiled.positional else None

    def insert(self, rows: Sequence[Row]) -> None:
        """Rows that are there already are left alone. Raises `Refused`: then none was taken."""
        if self._positional is not None:
            # In the driver's own words, which saves SQLAlchemy's 5 µs a row.
            sql, given = self._positional, [tuple(row) for row in rows]
            self._database.run(lambda connection: connection.exec_driver_sql(sql, given))
            return
        values = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        self._database.run(lambda connection: connection.execute(self._insert, values))

    def insert_each(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Insert those rows that the database takes; the others, each with the reason.

        Halves what is refused until the rows that cause it are alone.
        """
        try:
            self.insert(rows)
        except Refused as error:
            if len(rows) == 1:
                return [(rows[0], str(error))]
            middle = len(rows) // 2
            return self.insert_each(rows[:middle]) + self.insert_each(rows[middle:])
        return []

    def purge_older(self, age_ms: int, now_ms: int) -> int:
        """Delete the rows that are so old; how many there were.

        The age is that before the third newest day of which there are rows, or before now where
        that is earlier: a clock that is wrong for up to two days, in all processes that write,
        deletes nothing that it should not, though these leave rows of a time that has not come.
        """
        newest = self._third_newest_day()
        if newest is None:
            return 0
        return self.purge(purge_before(age_ms, min(newest, now_ms)))

    def _third_newest_day(self) -> int | None:
        """The time of the newest row of that day in UTC; None where there are fewer days."""

        def ask(connection: Connection) -> int | None:
            newest = sa.select(sa.func.max(_c.time))
            found: int | None = connection.execute(newest).scalar_one()
            for _ in range(2):
                if found is None:
                    break
                earlier = newest.where(_c.time < found - found % DAY_MS)
                found = connection.execute(earlier).scalar_one()
            return found

        return self._database.run(ask)

    def purge(self, before_ms: int) -> int:
        """Delete the rows that are older; how many there were."""
        key = sa.tuple_(_c.writer, _c.number)
        old = sa.select(_c.writer, _c.number).where(_c.time < before_ms).limit(_PURGE)
        deleted = part = self._delete(sa.delete(requests).where(key.in_(old)))
        while part == _PURGE:
            part = self._delete(sa.delete(requests).where(key.in_(old)))
            deleted += part
        return deleted

    def _delete(self, statement: sa.Delete) -> int:
        return self._database.run(lambda connection: connection.execute(statement).rowcount)

    def report(
        self,
        by: Sequence[str],
        since_ms: int,
        until_ms: int,
        key: str | None = None,
        unusual: Unusual | None = None,
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        """A dictionary a group, most requests first. ``day`` is in milliseconds since 1970.

        With ``unusual``: in how many of its hours a group went over that (``unusual_hours``).
        """
        statement = _report(by, unusual or Unusual())
        statement = statement.where(_c.time >= since_ms, _c.time < until_ms)
        if key is not None:
            statement = statement.where(_c.key == key)
        if unusual:
            statement = _hours_together(by, statement)
        return self._ask(statement.order_by(sa.desc("requests"), *by).limit(most))

    def _ask(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        def ask(connection: Connection) -> list[dict[str, Any]]:
            rows = connection.execute(statement).mappings()
            # The names are not quite strings, which not every encoder of JSON takes.
            plain = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
            return [row for row in plain if row["requests"]]  # a sum over nothing is a row too

        return self._database.run(ask)

    def unusual(self, since_ms: int, unusual: Unusual, most: int = 100) -> list[dict[str, Any]]:
        """The keys (``user`` empty) and the end users that went over since then, worst first."""
        asked, tokens = MEASURES["requests"], MEASURES["prompt_tokens"]

        def over(*groups: sa.ColumnElement[Any]) -> sa.Select[Any]:
            columns = [*groups, asked.label("requests"), tokens.label("prompt_tokens")]
            grouped = sa.select(*columns).where(_c.time >= since_ms, _c.key != "")
            return grouped.group_by(*groups).having(unusual.exceeded_by(asked, tokens))

        per_user = over(_c.key, _c.user).where(_c.user != "")
        per_key = over(_c.key)
        found = []
        for statement in (per_key, per_user):
            ordered = statement.order_by(sa.desc("requests")).limit(most)
            found += [{"user": "", **row} for row in self._ask(ordered)]
        return found


def _group(name: str) -> sa.ColumnElement[Any]:
    return (_c.time - _c.time % DAY_MS).label("day") if name == "day" else _c[name]


def _report(by: Sequence[str], unusual: Unusual) -> sa.Select[Any]:
    groups = [_group(name) for name in by]
    columns: list[sa.ColumnElement[Any]] = [m.label(name) for name, m in MEASURES.items()]
    if unusual:
        groups.append(hour := (_c.time - _c.time % HOUR_MS).label("hour"))
        over = unusual.exceeded_by(MEASURES["requests"], MEASURES["prompt_tokens"])
        columns.append(sa.case((over, 1), else_=0).label("unusual_hours"))
        return sa.select(*groups, *columns).group_by(*groups[:-1], hour)
    return sa.select(*groups, *columns).group_by(*groups)


def _hours_together(by: Sequence[str], hours: sa.Select[Any]) -> sa.Select[Any]:
    part = hours.subquery()
    sums = [sa.func.sum(part.c[name]).label(name) for name in (*MEASURES, "unusual_hours")]
    return sa.select(*(part.c[name] for name in by), *sums).group_by(*(part.c[n] for n in by))


def _plain(value: Any) -> Any:
    """PostgreSQL's sums are decimals; those over nothing are NULL."""
    return value if isinstance(value, str) else int(value or 0)


def purge_before(age_ms: int, newest: float) -> int:
    """The start of the day that was so long before: rows go a whole day (UTC) at a time."""
    moment = int(newest) - age_ms
    return moment - moment % DAY_MS
