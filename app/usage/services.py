"""The ledger, the table of keys and the tokens of an identity provider, as the settings want them.

Nothing that is not configured is imported.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Settings, UsageSettings

if TYPE_CHECKING:
    from flask import Blueprint

    from app.access.door import KeySource
    from app.api.exchange import Observer
    from app.domain import Caller
    from app.usage.ledger import Ledger
    from app.usage.reporter import Reporter
    from app.usage.store import Store, Unusual
    from app.usage.watch import Watch


_PURGE_EVERY = 3600.0  # seconds
_PATROL_EVERY = 60.0
_AUDIT_RETRY_S = 60.0  # until the settings in use are in the audit log


@dataclass
class Services:
    """What there is of them. `start` them in the process that serves."""

    key_sources: list[KeySource] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    store: Store | None = None
    reporter: Reporter | None = None
    unusual: Unusual | None = None
    ledger: Ledger | None = None
    watch: Watch | None = None
    _starts: list[Callable[[], None]] = field(default_factory=list)
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def start(self) -> None:
        for start in self._starts:
            start()
        atexit.register(self.close)  # gunicorn's workers end by sys.exit, whatever the signal

    def close(self) -> None:
        """Write what is on its way. Called at the end of the process, if not before."""
        atexit.unregister(self.close)
        while self._ends:
            self._ends.pop()()

    def page(self, identify: Callable[[], Caller]) -> Blueprint:
        """``GET /v1/usage``, where there is a ledger."""
        from app.api.usage import UsageApi

        assert self.reporter is not None and self.unusual is not None  # noqa: S101, PT018 - for mypy
        return UsageApi(self.reporter, self.unusual, identify).blueprint()

    def runs(self, start: Callable[[], None], end: Callable[[], None]) -> None:
        self._starts.append(start)
        self._ends.append(end)


def build(settings: Settings) -> Services:
    services = Services()
    if settings.usage is not None:
        _with_database(services, settings, settings.usage)
    else:
        from app.usage.audit_digests import log_settings

        services._starts.append(lambda: log_settings(settings))
    if settings.oidc is not None:
        from app.access.jwks import Jwks
        from app.access.oidc import Tokens

        oidc = settings.oidc
        jwks = Jwks(oidc.jwks_url, oidc.refresh)
        services.key_sources.append(Tokens(oidc, jwks))
        services.runs(jwks.start, jwks.stop)
    return services


def _with_database(services: Services, settings: Settings, usage: UsageSettings) -> None:
    from app.usage.audit_settings import SettingsAudit
    from app.usage.database import Database
    from app.usage.ledger import Ledger
    from app.usage.record import Recorder
    from app.usage.reporter import REPORT_TIME_LIMIT_S, Reporter
    from app.usage.shipper import Chore, Shipper
    from app.usage.spool import Spool
    from app.usage.store import DAY_MS, Store, Unusual
    from app.usage.watch import Patrol, Watch

    database = Database(usage.url)
    services._ends.append(database.close)
    services.store = store = Store(database)
    reports = Database(usage.url, REPORT_TIME_LIMIT_S)
    services._ends.append(reports.close)
    services.reporter = Reporter(Store(reports))
    services.unusual = unusual = Unusual(
        usage.unusual.requests_per_hour, usage.unusual.tokens_per_hour
    )
    services.watch = watch = Watch(settings.keys)
    chores = [Chore(_AUDIT_RETRY_S, SettingsAudit(database, settings))]
    if usage.retention_days is not None:
        age = usage.retention_days * DAY_MS
        chores.append(Chore(_PURGE_EVERY, lambda: store.purge_older(age, int(time.time() * 1000))))
    if unusual:
        chores.append(Chore(_PATROL_EVERY, Patrol(store, unusual, watch)))
    writer = Ledger.new_writer()
    spool = Spool(usage.spool, writer, usage.spool_bytes)
    services.ledger = ledger = Ledger(
        Recorder(settings.models), spool, Shipper(store, spool, chores), writer
    )
    services.observers += [ledger, watch]
    services.runs(ledger.start, ledger.close)
    if usage.keys:
        from app.access.snapshot import Snapshot
        from app.access.table import KeyTable
        from app.access.table_keys import TableKeys

        # In the spool, a directory of this host that its workers can write.
        snapshot = Snapshot(Path(usage.spool) / "keys.json")
        keys = TableKeys(KeyTable(database), snapshot=snapshot)
        services.key_sources.append(keys)
        services.runs(keys.start, keys.stop)
