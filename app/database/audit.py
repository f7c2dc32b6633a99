"""The audit log: changes of keys and settings, each with its time and actor, without secrets.

A change of a key and its row in the audit log are written in one transaction. Rows are never
deleted: they are few, and `USAGE["retention_days"]` does not apply to them.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from app.database.tables import audit_log

#: Rows that one listing shows; the newest are shown.
MAX_EVENTS_LISTED = 1000


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One change.

    ``actor`` is from `os_actor` for commands, ``key:NAME (ADDRESS)`` for the console.
    """

    actor: str
    action: str  # such as "key.new" or "settings.change"
    subject: str  # the name of a key, or the place of a settings file
    detail: Mapping[str, Any] = field(default_factory=dict)


def os_actor() -> str:
    """Return the user of this process, and the user that called sudo: ``os:root (sudo: alice)``."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # containers run with ids that have no name
        name = str(uid)
    sudo = os.environ.get("SUDO_USER")
    return f"os:{name} (sudo: {sudo})" if sudo else f"os:{name}"


def record(connection: Connection, event: AuditEvent, now: float) -> None:
    """Insert a row, in the transaction of the change. ``now`` is in seconds since 1970."""
    connection.execute(
        sa.insert(audit_log).values(
            time=int(now * 1000),
            actor=event.actor,
            action=event.action,
            subject=event.subject,
            detail=dict(event.detail),
        )
    )


def latest(
    connection: Connection, action: str, subject: str
) -> tuple[float, Mapping[str, Any]] | None:
    """Return the time and the detail of the newest row with this action and subject, or None."""
    columns = audit_log.c
    statement = (
        sa.select(columns.time, columns.detail)
        .where(columns.action == action, columns.subject == subject)
        .order_by(columns.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row.time / 1000, row.detail)


def events(
    connection: Connection, since_ms: int, until_ms: int, subject: str | None = None
) -> list[dict[str, Any]]:
    """Return the newest `MAX_EVENTS_LISTED` rows between two times, oldest first."""
    columns = audit_log.c
    statement = sa.select(audit_log).where(columns.time >= since_ms, columns.time < until_ms)
    if subject is not None:
        statement = statement.where(columns.subject == subject)
    statement = statement.order_by(columns.id.desc()).limit(MAX_EVENTS_LISTED)
    return [dict(row) for row in connection.execute(statement).mappings()][::-1]
