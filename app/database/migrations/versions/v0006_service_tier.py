"""Add the service tier to the rows, and create the rollup by hour with it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_DIMENSIONS = ("key", "model", "provider", "deployment", "status", "error_code")
_SUMS = ("requests", "items", "prompt_tokens", "billed_tokens", "cached_tokens", "cost", "ms")


def upgrade() -> None:
    big = sa.BigInteger()
    types: dict[str, sa.types.TypeEngine[Any]] = {"status": big, "error_code": sa.String(64)}
    # The default is for workers of the version before, whose requests all were of this tier.
    tier = sa.Column("service_tier", sa.String(16), nullable=False, server_default="default")
    op.add_column("usage_requests", tier)
    created = op.create_table(
        "usage_tier_hours",
        sa.Column("hour", big, primary_key=True, autoincrement=False),
        sa.Column("service_tier", sa.String(16), primary_key=True),
        *(sa.Column(d, types.get(d, sa.Text()), primary_key=True) for d in _DIMENSIONS),
        *(sa.Column(name, big, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    # No row is inserted meanwhile, which would be in no sum: the new column has locked the table.
    names = ("hour", *_DIMENSIONS, *_SUMS)
    before = sa.table("usage_hours", *(sa.column(name) for name in names))
    copied = sa.select(sa.literal("default"), *(before.c[name] for name in names))
    op.execute(created.insert().from_select(["service_tier", *names], copied))


def downgrade() -> None:
    op.drop_table("usage_tier_hours")
    op.drop_column("usage_requests", "service_tier")
