"""Create the tables of usage and of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    big = sa.BigInteger()
    op.create_table(
        "usage_requests",
        sa.Column("writer", sa.String(16), primary_key=True),
        sa.Column("number", big, primary_key=True),
        sa.Column("time", big, nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("user", sa.String(256), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("items", big, nullable=False),
        sa.Column("prompt_tokens", big, nullable=False),
        sa.Column("billed_tokens", big, nullable=False),
        sa.Column("cached_tokens", big, nullable=False),
        sa.Column("cost", big, nullable=False),
        sa.Column("ms", big, nullable=False),
        sa.Column("status", big, nullable=False),
        sa.Column("error_code", sa.String(64), nullable=False),
    )
    op.create_index("usage_requests_time", "usage_requests", ["time"])
    op.create_index("usage_requests_key_time", "usage_requests", ["key", "time"])
    op.create_table(
        "access_keys",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("networks", sa.JSON(), nullable=False),
        sa.Column("created", big, nullable=False),
        sa.Column("expires", big),
        sa.Column("revoked", big),
    )
    op.create_index("access_keys_name", "access_keys", ["name"])
    versions = op.create_table(
        "access_keys_version",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", big, nullable=False),
    )
    op.bulk_insert(versions, [{"id": 1, "version": 0}])


def downgrade() -> None:
    for table in ("access_keys_version", "access_keys", "usage_requests"):
        op.drop_table(table)
