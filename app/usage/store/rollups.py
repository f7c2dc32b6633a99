"""Rollups: sums by the hour, which reports read in the place of the rows.

A rollup has a row for each hour (UTC) and each combination of its dimensions. It is updated in the
transaction that inserts the rows. There are three rollups: without, with end users and with service
tiers. With many end users the second has about as many rows as the ledger itself, and most reports
do not need it. The third was added to the others, which workers of the version before still write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from app.database.columns import COLUMNS
from app.database.tables import HOUR_DIMENSIONS, HOUR_SUMS, hours, tier_hours, user_hours
from app.usage.record import Row

HOUR_MS = 3_600_000
ROLLUPS = (hours, user_hours, tier_hours)
_TIME = COLUMNS.index("time")
_SUMS = tuple(COLUMNS.index(name) for name in HOUR_SUMS)


def sums_of(rows: Iterable[Row], dimensions: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rollup's rows for these rows of the ledger, ordered by their primary key."""
    places = [COLUMNS.index(name) for name in dimensions]
    sums_by_group: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        time = row[_TIME]
        group = (time - time % HOUR_MS, *(row[place] for place in places))
        sums = sums_by_group.setdefault(group, [0] * (1 + len(_SUMS)))
        sums[0] += 1
        for i, place in enumerate(_SUMS, 1):
            sums[i] += row[place]
    names = ("hour", *dimensions, "requests", *HOUR_SUMS)
    # Ordered: two processes that lock the same rows in different orders would deadlock.
    return [
        dict(zip(names, (*group, *sums_by_group[group]), strict=True))
        for group in sorted(sums_by_group)
    ]


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
    """Return the names of a rollup's dimensions, without the hour."""
    return [name for name in ("user", "service_tier", *HOUR_DIMENSIONS) if name in table.c]


def rollup_with(dimensions: Iterable[str]) -> sa.Table | None:
    """Return the smallest rollup with these dimensions, times aside; None if there is none."""
    names = set(dimensions) - {"day", "hour"}
    return next((table for table in ROLLUPS if names <= {*dimensions_of(table)}), None)
