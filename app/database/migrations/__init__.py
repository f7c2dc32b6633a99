"""Migrations of the database: `migrate` brings its tables up to date.

* `versions`: the migrations.
* `env`: Alembic runs it, and gets the connection from `migrate`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

#: Not Alembic's default name: another application may use the same database.
VERSION_TABLE = "embeddings_proxy_version"


def _config() -> Config:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def migrate(engine: Engine) -> tuple[str | None, str | None]:
    """Bring the tables up to date; return the versions before and after.

    All migrations run in one transaction. A second process that migrates at the same time waits for
    the first, and then finds nothing to do.
    """
    config = _config()
    with engine.begin() as connection:
        _begin_exclusively(connection)
        before = version(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, version(connection)


def _begin_exclusively(connection: Connection) -> None:
    """Begin the transaction, and lock out other migrations."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5216820461)")
        return
    # Python's sqlite3 begins a transaction only for changes of rows, not of tables. With None it
    # begins none itself; its commit and rollback still end ours.
    driver: Any = connection.connection.dbapi_connection
    driver.isolation_level = None
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def version(connection: Connection) -> str | None:
    """Return the version of the database's tables; None: no tables yet."""
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def newest() -> str | None:
    """Return the newest version that this program has a migration for."""
    return ScriptDirectory.from_config(_config()).get_current_head()
