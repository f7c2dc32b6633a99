"""Alembic runs this; `app.database.migrations.migrate` gives it the connection."""

from alembic import context

from app.database.migrations import VERSION_TABLE
from app.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
