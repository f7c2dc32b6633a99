"""The table of reference vectors, one row a vector space: see `app.dispatch.drift`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database.audit import AuditEvent, record
from app.database.tables import audit_log, space_references

_ACTION = "reference.record"  # in the audit log


def version(connection: Connection) -> object:
    """Return what changes with every `replace`, and when a row is removed.

    That are the spaces with the times of their rows, and how many records the audit log has: the
    clocks of two hosts differ. Not the vectors, since this is read every few seconds.
    """
    columns = space_references.c
    rows = connection.execute(sa.select(columns.space, columns.recorded_at))
    counted = sa.select(sa.func.count()).where(audit_log.c.action == _ACTION)
    spaces = sorted((space, recorded_at) for space, recorded_at in rows)
    return spaces, connection.execute(counted).scalar_one()


def read(connection: Connection) -> list[Mapping[str, Any]]:
    """Return all rows."""
    return [dict(row) for row in connection.execute(sa.select(space_references)).mappings()]


def replace(
    connection: Connection, rows: Sequence[Mapping[str, Any]], actor: str, now: float
) -> None:
    """Replace the rows of these spaces, and note each in the audit log."""
    for row in rows:
        columns = space_references.c
        connection.execute(sa.delete(space_references).where(columns.space == row["space"]))
        connection.execute(sa.insert(space_references).values(**row))
        detail = {"recorded_from": row["recorded_from"], "texts": row["texts"]}
        record(connection, AuditEvent(actor, _ACTION, row["space"], detail), now)
