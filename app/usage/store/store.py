"""The ledger's queries: insert rows, sum them up, delete old ones."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.database.columns import COLUMNS
from app.database.engine import Database, Refused
from app.database.tables import HOUR_SUMS, hours, requests
from app.usage.record import Row
from app.usage.store.queries import DAY_MS, ReportQuery, VolumeLimits
from app.usage.store.rollups import HOUR_MS, ROLLUPS, Rollups

__all__ = ["DAY_MS", "HOUR_MS", "ReportQuery", "Store", "VolumeLimits", "purge_before"]

#: Rows deleted in one transaction: other transactions wait for its locks.
MAX_ROWS_PER_DELETE = 5_000

#: The largest count that a row may hold: every JSON parser keeps it exact, and no sum overflows.
MAX_COUNT = 2**53
_COUNTS = tuple(COLUMNS.index(name) for name in HOUR_SUMS)

_c = requests.c
#: Two subqueries: SQLite reads the whole table for both in one.
_OLDEST_AND_NEWEST_HOUR = sa.select(
    sa.select(sa.func.min(hours.c.hour)).scalar_subquery(),
    sa.select(sa.func.max(hours.c.hour)).scalar_subquery(),
)


class _Repeated(Exception):
    """Some of the rows are in the database already."""


class Store:
    """The ledger's tables. Every method raises `Unavailable` if the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = sqlite if database.is_sqlite else postgresql
        self._insert = dialect.insert(requests).on_conflict_do_nothing()
        compiled = self._insert.compile(dialect=database.engine.dialect)
        self._rollups = Rollups(database.is_sqlite)
        self._positional = str(compiled) if compiled.positional else None

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows and add them to the rollups, in one transaction.

        Rows that are in the database already are skipped. Raises `Refused`, and inserts none, if
        the database does not take one of them.
        """
        if any(
            row[place] is not None and row[place] > MAX_COUNT for row in rows for place in _COUNTS
        ):
            raise Refused("a count is too large")
        if not rows:
            return None
        if self._positional is not None:
            with contextlib.suppress(_Repeated):
                return self._database.run(lambda connection: self._insert_all(connection, rows))
        return self._database.run(lambda connection: self._insert_new(connection, rows))

    def _insert_all(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert with the driver's ``executemany``, which saves SQLAlchemy's 5 µs a row.

        Raises `_Repeated` if some rows are there already; the driver does not say which ones.
        """
        given = [tuple(row) for row in rows]
        if connection.exec_driver_sql(str(self._positional), given).rowcount < len(rows):
            raise _Repeated
        self._rollups.add(connection, rows)

    def _insert_new(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert rows of which some are there already; add only the new ones to the rollups."""
        values = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        statement = self._insert.returning(_c.writer, _c.number)
        new = {tuple(key) for key in connection.execute(statement, values)}
        self._rollups.add(connection, [row for row in rows if tuple(row[:2]) in new])

    def insert_each(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Insert the rows that the database takes; return the refused ones with their reasons.

        Bisects the rows until each refused one is isolated.
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
        """Delete rows older than ``age_ms``; return their number.

        The age counts back from the third newest day that has rows, or from now if that is earlier.
        So rows with times in the future, written while a clock was wrong for up to two days, do not
        make the purge delete too much.
        """
        newest = self._third_newest_day()
        if newest is None:
            return 0
        return self.purge(purge_before(age_ms, min(newest, now_ms)))

    def _third_newest_day(self) -> int | None:
        """Return the time of the newest row of that day (UTC); None if fewer days have rows."""

        def find(connection: Connection) -> int | None:
            newest = sa.select(sa.func.max(_c.time))
            found: int | None = connection.execute(newest).scalar_one()
            for _ in range(2):
                if found is None:
                    break
                earlier = newest.where(_c.time < found - found % DAY_MS)
                found = connection.execute(earlier).scalar_one()
            return found

        return self._database.run(find)

    def purge(self, before_ms: int) -> int:
        """Delete the rows before a time, and their rollups; return the number of rows."""
        for table in ROLLUPS:
            self._delete_hours(table, before_ms)
        key = sa.tuple_(_c.writer, _c.number)
        old = sa.select(_c.writer, _c.number).where(_c.time < before_ms).limit(MAX_ROWS_PER_DELETE)
        deleted = batch = self._delete(sa.delete(requests).where(key.in_(old)))
        while batch == MAX_ROWS_PER_DELETE:
            batch = self._delete(sa.delete(requests).where(key.in_(old)))
            deleted += batch
        return deleted

    def _delete_hours(self, table: sa.Table, before_ms: int) -> None:
        """Delete the hours of a rollup before a time, one day in each transaction."""
        first = sa.select(sa.func.min(table.c.hour)).where(table.c.hour < before_ms)
        while True:
            oldest = self._database.run(lambda c: c.execute(first).scalar_one())
            if oldest is None:
                return
            end = min(oldest + DAY_MS, before_ms)
            self._delete(sa.delete(table).where(table.c.hour < end))

    def _delete(self, statement: sa.Delete) -> int:
        return self._database.run(lambda connection: connection.execute(statement).rowcount)

    def report(self, query: ReportQuery, max_groups: int | None = None) -> list[dict[str, Any]]:
        """Return a dictionary for each group, in the query's order; at most ``max_groups``.

        With volume limits, ``unusual_hours`` is the number of hours in which the group exceeded
        them. See `ReportQuery.statement`.
        """

        def select(connection: Connection) -> list[dict[str, Any]]:
            oldest, newest = connection.execute(_OLDEST_AND_NEWEST_HOUR).one()
            if oldest is None:
                return []
            # A caller may ask for a century: the changes of a zone's offset in it take long to
            # find, and would be as many cases in the statement.
            found = query.within(oldest, newest + HOUR_MS)
            if found.since_ms >= found.until_ms:
                return []
            return _groups(connection, found.statement().limit(max_groups))

        return self._database.run(select)

    def _select(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        return self._database.run(lambda connection: _groups(connection, statement))

    def unusual(
        self, since_ms: int, limits: VolumeLimits, max_groups: int = 100
    ) -> list[dict[str, Any]]:
        """Return keys (``user`` empty) and end users that exceed the limits."""
        number, tokens = sa.func.count(), sa.func.sum(_c.prompt_tokens)

        def exceeding(*groups: sa.ColumnElement[Any]) -> sa.Select[Any]:
            columns = [*groups, number.label("requests"), tokens.label("prompt_tokens")]
            grouped = sa.select(*columns).where(_c.time >= since_ms, _c.key != "")
            return grouped.group_by(*groups).having(limits.exceeded_by(number, tokens))

        per_user = exceeding(_c.key, _c.user).where(_c.user != "")
        per_key = exceeding(_c.key)
        found = []
        for statement in (per_key, per_user):
            ordered = statement.order_by(sa.desc("requests")).limit(max_groups)
            found += [{"user": "", **row} for row in self._select(ordered)]
        return found


def _groups(connection: Connection, statement: sa.Select[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(statement).mappings()
    # Column names are a subclass of str, which orjson refuses as keys.
    plain = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
    return [row for row in plain if row["requests"]]  # a sum over no rows is a row too


def _plain(value: Any) -> Any:
    """Return sums as integers: PostgreSQL's are decimals, and NULL over no rows."""
    return value if isinstance(value, str) else int(value or 0)


def purge_before(age_ms: int, newest: float) -> int:
    """Return the start of the day (UTC) ``age_ms`` before ``newest``: whole days are deleted."""
    moment = int(newest) - age_ms
    return moment - moment % DAY_MS
