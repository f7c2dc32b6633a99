"""Add the vector space to the rows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # The default is for workers of the version before, which insert rows until they are replaced.
    column = sa.Column("space", sa.String(100), nullable=False, server_default="")
    op.add_column("usage_requests", column)


def downgrade() -> None:
    op.drop_column("usage_requests", "space")
