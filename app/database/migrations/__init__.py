"""The tables' history. `migrate` brings a database up to date."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

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
    """Bring the tables up to date; the versions before and after.

    All or nothing, and alone: another who migrates at the same time waits, and has nothing to do.
    """
    config = _config()
    with engine.begin() as connection:
        _be_alone(connection)
        before = version(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, version(connection)


def _be_alone(connection: Connection) -> None:
    """Begin the transaction so that no other can migrate meanwhile."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5216820461)")
        return
    # Python's sqlite3 begins transactions only for changes of rows, and leaves those of tables
    # outside; with None it leaves all of it to us, and its commit and rollback still end them.
    driver: Any = connection.connection.dbapi_connection
    driver.isolation_level = None
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def version(connection: Connection) -> str | None:
    """What the database has; None: no tables yet."""
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def newest() -> str | None:
    """What this program knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()
