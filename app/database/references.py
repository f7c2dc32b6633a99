"""The table of reference vectors, one row a vector space: see `app.drift`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database.audit import AuditEvent, record
from app.database.tables import space_references


def version(connection: Connection) -> tuple[tuple[str, int, str], ...]:
    """Return what changes with every `replace`: space, time and digest of each row, sorted.

    The newest time alone would not: the clocks of two hosts differ.
    """
    columns = space_references.c
    statement = sa.select(columns.space, columns.recorded_at, columns.vectors)
    return tuple(
        sorted(
            (space, recorded_at, sha256(vectors).hexdigest())
            for space, recorded_at, vectors in connection.execute(statement)
        )
    )


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
        record(connection, AuditEvent(actor, "reference.record", row["space"], detail), now)
