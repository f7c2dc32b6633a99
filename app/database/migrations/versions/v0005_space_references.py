"""Create the table of reference vectors."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "space_references",
        sa.Column("space", sa.String(100), primary_key=True),
        sa.Column("texts", sa.String(16), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_from", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("space_references")
