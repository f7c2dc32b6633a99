"""The tables' history. `migrate` brings a database up to date."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

#: Not Alembic's usual name: the database may be another application's too.
VERSION_TABLE = "embeddings_proxy_version"


def _config() -> Config:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def migrate(engine: Engine) -> tuple[str | None, str | None]:
    """Bring the tables up to date; the versions before and after."""
    config = _config()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # two who migrate at once do it one by one
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5216820461)")
        before = version(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, version(connection)


def version(connection: Connection) -> str | None:
    """What the database has; None: no tables yet."""
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def newest() -> str | None:
    """What this program knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()
