"""Create the rollups by hour, without and with end users, and fill them from the rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_DAY_MS = 86_400_000
_DIMENSIONS = ("key", "model", "provider", "deployment", "status", "error_code")
_SUMS = ("items", "prompt_tokens", "billed_tokens", "cached_tokens", "cost", "ms")
_TABLES = {"usage_hours": _DIMENSIONS, "usage_user_hours": ("user", *_DIMENSIONS)}


def upgrade() -> None:
    big = sa.BigInteger()
    types: dict[str, sa.types.TypeEngine[Any]] = {
        "status": big,
        "error_code": sa.String(64),
        "user": sa.String(256),
    }
    for name, dimensions in _TABLES.items():
        op.create_table(
            name,
            sa.Column("hour", big, primary_key=True, autoincrement=False),
            *(
                sa.Column(d, types.get(d, sa.Text()), primary_key=True, autoincrement=False)
                for d in dimensions
            ),
            *(sa.Column(n, big, nullable=False) for n in ("requests", *_SUMS)),
            sqlite_with_rowid=False,
        )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        # A row inserted meanwhile would be in no rollup. Writers wait; the spool keeps their rows.
        op.execute("LOCK TABLE usage_requests IN SHARE MODE")
    for table, dimensions in _TABLES.items():
        _fill(connection, table, dimensions)


def _fill(connection: sa.Connection, table: str, dimensions: tuple[str, ...]) -> None:
    """Sum up the rows of a day at a time, so that no statement sorts more than a day's."""
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in ("time", *dimensions, *_SUMS)
    ]
    rows = sa.table("usage_requests", *columns)
    time = rows.c.time
    hour = (time - time % 3_600_000).label("hour")
    groups = [rows.c[name] for name in dimensions]
    sums = [sa.func.sum(rows.c[name]) for name in _SUMS]
    target = sa.table(table, *(sa.column(n) for n in ("hour", *dimensions, "requests", *_SUMS)))
    newer = sa.select(sa.func.min(time))
    found = connection.execute(newer).scalar_one()
    while found is not None:
        end = found - found % _DAY_MS + _DAY_MS
        of_day = sa.select(hour, *groups, sa.func.count(), *sums)
        of_day = of_day.where(time >= found, time < end).group_by(hour, *groups)
        connection.execute(target.insert().from_select([c.name for c in target.c], of_day))
        found = connection.execute(newer.where(time >= end)).scalar_one()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
