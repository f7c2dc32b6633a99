"""Records changes of the settings in the audit log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from app.config import Settings
from app.database import audit
from app.database.engine import Database
from app.database.tables import keys_version
from app.usage.audit_digests import digest, digests_of, place

_log = logging.getLogger("app.audit")


class SettingsAudit:
    """Writes to the audit log which settings changed since the newest row of this host and file.

    It is called periodically, because the database may not answer. After the first success it does
    nothing, because the settings of a process never change. Each worker calls it: the first one
    writes the row, with the time at which that worker began, and the others find it.
    """

    def __init__(
        self, database: Database, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._digests = digests_of(settings)
        self._blocked = sorted(settings.blocked_keys)
        self._began = clock()
        self._is_done = False

    def __call__(self) -> None:
        """Raises `app.database.engine.Unavailable`."""
        if not self._is_done:
            self._database.run(self._record)
            self._is_done = True

    def _record(self, connection: Connection) -> None:
        # Locks this row: two workers that start at the same time would otherwise both write.
        connection.execute(keys_version.update().values(version=keys_version.c.version))
        subject = place()
        at, before = audit.latest(connection, "settings.change", subject) or (0.0, {})
        if at > self._began:
            return  # a process that began later has written: its settings replace these
        known = before.get("digests") or {}
        if known == self._digests:
            return
        names = sorted(known.keys() | self._digests.keys())
        changed = [name for name in names if known.get(name) != self._digests.get(name)]
        detail = {
            "digest": digest(self._digests),
            "changed": changed,  # at the first start all of them
            "digests": self._digests,
            "blocked_keys": self._blocked,
        }
        self._add(connection, "settings.change", subject, detail)
        was, now = set(before.get("blocked_keys") or ()), set(self._blocked)
        for action, keys in (("key.block", now - was), ("key.unblock", was - now)):
            for key in sorted(keys):
                self._add(connection, action, key, {"settings": subject})
        _log.info("settings changed: %s, digest %s", ", ".join(changed), detail["digest"])

    def _add(
        self, connection: Connection, action: str, subject: str, detail: Mapping[str, Any]
    ) -> None:
        event = audit.AuditEvent(audit.os_actor(), action, subject, detail)
        audit.record(connection, event, self._began)
