"""What the ledger asks of its database: put rows in, sum them up, let old ones go."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.database.columns import COLUMNS
from app.database.engine import Database, Refused
from app.database.tables import HOUR_SUMS, requests
from app.usage.queries import DAY_MS, Question, Unusual
from app.usage.record import Row
from app.usage.rollups import HOUR_MS, ROLLUPS, Rollups

__all__ = ["DAY_MS", "HOUR_MS", "Question", "Store", "Unusual", "purge_before"]

#: Rows deleted in one transaction, so that nobody waits long for it.
_PURGE = 5_000

#: The largest count that a row may hold: what every reader of JSON keeps exact, and far below what
#: would overflow a sum.
MAX_COUNT = 2**53
_COUNTS = tuple(COLUMNS.index(name) for name in HOUR_SUMS)

_c = requests.c


class _Repeated(Exception):
    """Some rows are there already."""


class Store:
    """Every method raises `Unavailable` where the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = sqlite if database.is_sqlite else postgresql
        self._insert = dialect.insert(requests).on_conflict_do_nothing()
        compiled = self._insert.compile(dialect=database.engine.dialect)
        self._rollups = Rollups(database.is_sqlite)
        self._positional = str(compiled) if compiled.positional else None

    def insert(self, rows: Sequence[Row]) -> None:
        """Rows that are there already are left alone. Raises `Refused`: then none was taken.

        The sums by hour are of the same transaction.
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
        """Insert in the driver's own words, which saves SQLAlchemy's 5 µs a row.

        Raises `_Repeated` where some are there already: which ones, the driver does not say.
        """
        given = [tuple(row) for row in rows]
        if connection.exec_driver_sql(str(self._positional), given).rowcount < len(rows):
            raise _Repeated
        self._rollups.add(connection, rows)

    def _insert_new(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Only rows that are new are added to the sums."""
        values = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        statement = self._insert.returning(_c.writer, _c.number)
        new = {tuple(key) for key in connection.execute(statement, values)}
        self._rollups.add(connection, [row for row in rows if tuple(row[:2]) in new])

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
        """Delete the rows that are older, and their sums; how many rows there were."""
        for table in ROLLUPS:
            self._delete_hours(table, before_ms)
        key = sa.tuple_(_c.writer, _c.number)
        old = sa.select(_c.writer, _c.number).where(_c.time < before_ms).limit(_PURGE)
        deleted = part = self._delete(sa.delete(requests).where(key.in_(old)))
        while part == _PURGE:
            part = self._delete(sa.delete(requests).where(key.in_(old)))
            deleted += part
        return deleted

    def _delete_hours(self, table: sa.Table, before_ms: int) -> None:
        """Delete a rollup's hours, a day in each transaction."""
        first = sa.select(sa.func.min(table.c.hour)).where(table.c.hour < before_ms)
        while True:
            oldest = self._database.run(lambda c: c.execute(first).scalar_one())
            if oldest is None:
                return
            end = min(oldest + DAY_MS, before_ms)
            self._delete(sa.delete(table).where(table.c.hour < end))

    def _delete(self, statement: sa.Delete) -> int:
        return self._database.run(lambda connection: connection.execute(statement).rowcount)

    def report(self, question: Question, most: int | None = None) -> list[dict[str, Any]]:
        """A dictionary a group, most requests first: see `Question.statement`.

        With ``unusual``: in how many of its hours a group went over that (``unusual_hours``).
        """
        return self._ask(question.statement().limit(most))

    def _ask(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        def ask(connection: Connection) -> list[dict[str, Any]]:
            rows = connection.execute(statement).mappings()
            # The names are not quite strings, which not every encoder of JSON takes.
            plain = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
            return [row for row in plain if row["requests"]]  # a sum over nothing is a row too

        return self._database.run(ask)

    def unusual(self, since_ms: int, unusual: Unusual, most: int = 100) -> list[dict[str, Any]]:
        """The keys (``user`` empty) and the end users that went over since then, worst first."""
        asked, tokens = sa.func.count(), sa.func.sum(_c.prompt_tokens)

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


def _plain(value: Any) -> Any:
    """PostgreSQL's sums are decimals; those over nothing are NULL."""
    return value if isinstance(value, str) else int(value or 0)


def purge_before(age_ms: int, newest: float) -> int:
    """The start of the day that was so long before: rows go a whole day (UTC) at a time."""
    moment = int(newest) - age_ms
    return moment - moment % DAY_MS
