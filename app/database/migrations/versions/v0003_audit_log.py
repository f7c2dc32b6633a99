"""Create the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    big = sa.BigInteger()
    op.create_table(
        "audit_log",
        sa.Column("id", big.with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("time", big, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_index("audit_log_time", "audit_log", ["time"])


def downgrade() -> None:
    op.drop_table("audit_log")
