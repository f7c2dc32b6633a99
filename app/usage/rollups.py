"""Sums by the hour, kept with the rows in one transaction, so that reports need not read the rows.

A rollup has a row for each hour (UTC) and each combination of its dimensions. There are two: end
users can be so many that sums by user are no fewer than the rows, and most reports do not ask for
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.database.columns import COLUMNS
from app.database.tables import HOUR_DIMENSIONS, HOUR_SUMS, hours, user_hours
from app.usage.record import Row

HOUR_MS = 3_600_000
ROLLUPS = (hours, user_hours)
_TIME = COLUMNS.index("time")
_SUMS = tuple(COLUMNS.index(name) for name in HOUR_SUMS)


def sums_of(rows: Iterable[Row], dimensions: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a rollup for these rows of the ledger, ordered by their keys."""
    places = [COLUMNS.index(name) for name in dimensions]
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        time = row[_TIME]
        group = (time - time % HOUR_MS, *(row[place] for place in places))
        sums = found.setdefault(group, [0] * (1 + len(_SUMS)))
        sums[0] += 1
        for i, place in enumerate(_SUMS, 1):
            sums[i] += row[place]
    names = ("hour", *dimensions, "requests", *HOUR_SUMS)
    # In order, so that two processes that add to the same sums wait for each other and never
    # deadlock.
    return [dict(zip(names, (*group, *found[group]), strict=True)) for group in sorted(found)]


class Rollups:
    """Adds rows to the rollups of a database."""

    def __init__(self, is_sqlite: bool) -> None:
        dialect = sqlite if is_sqlite else postgresql
        self._statements = []
        for table in ROLLUPS:
            insert = dialect.insert(table)
            added = {n: table.c[n] + insert.excluded[n] for n in ("requests", *HOUR_SUMS)}
            upsert = insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=added)
            self._statements.append((upsert, dimensions_of(table)))

    def add(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Add rows that were not in the ledger before, in the transaction that inserts them."""
        if rows:
            for upsert, dimensions in self._statements:
                connection.execute(upsert, sums_of(rows, dimensions))


def dimensions_of(table: sa.Table) -> list[str]:
    """The names of a rollup's dimensions, without the hour."""
    return [name for name in ("user", *HOUR_DIMENSIONS) if name in table.c]
