"""A table whose changes are counted and recorded: workers read it again when they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database import audit
from app.database.engine import Database
from app.database.tables import keys_version

T = TypeVar("T")


class VersionedTable:
    """The base of the tables of keys and of blocks, which have one version."""

    def __init__(
        self, database: Database, clock: Callable[[], float] = time.time, actor: str = ""
    ) -> None:
        """``actor`` is named in the audit log; empty: the user that runs the process."""
        self._run = database.run
        self._clock = clock
        self._actor = actor or audit.os_actor()

    def version(self) -> int:
        """Return the number of changes that keys and blocks have had."""
        return self._run(version_in)

    def _change(self, change: Callable[[Connection], T]) -> T:
        """Make a change in a transaction, which increments the version."""

        def run(connection: Connection) -> T:
            # First, as it locks the version's row: concurrent changes run one after the other.
            counted = sa.update(keys_version).values(version=keys_version.c.version + 1)
            connection.execute(counted)
            return change(connection)

        return self._run(run)

    def _record(
        self, connection: Connection, action: str, name: str, detail: Mapping[str, Any]
    ) -> None:
        """Write a row of the audit log in the transaction of the change."""
        event = audit.AuditEvent(self._actor, action, name, detail)
        audit.record(connection, event, self._clock())


def version_in(connection: Connection) -> int:
    """Return the version as a transaction sees it."""
    return int(connection.execute(sa.select(keys_version.c.version)).scalar_one())
