"""The services that only some settings name: ledger, table of keys, identity provider.

They are made here and started in the process that serves. Their packages are imported only where
they are configured.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint

from app.auth.authenticator import KeySource, caller_of
from app.auth.blocklist import Blocklist
from app.concurrency.shared_files import directory_for
from app.config import Settings, UsageSettings
from app.domain import Caller
from app.exchange import Observer
from app.limits.periods import Calendar, zone_of

if TYPE_CHECKING:
    from app.auth.block_refresh import BlocklistRefresh
    from app.auth.database_keys import DatabaseKeys
    from app.console.page import Page
    from app.database.engine import Database
    from app.usage.ledger.ledger import Ledger
    from app.usage.reports.reporter import Reporter
    from app.usage.reports.spent_today import SpentToday
    from app.usage.reports.volume_alert import VolumeAlert
    from app.usage.store.queries import VolumeLimits
    from app.usage.store.store import Store

PURGE_INTERVAL_S = 3600.0
VOLUME_CHECK_INTERVAL_S = 60.0
#: Seconds between two attempts to write the settings in use to the audit log.
AUDIT_RETRY_S = 60.0


@dataclass
class Services:
    """The configured services: ledger, table of keys, identity provider.

    `start` them in the process that serves.
    """

    blocklist: Blocklist = field(default_factory=Blocklist)
    key_sources: list[KeySource] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    database: Database | None = None
    store: Store | None = None
    reporter: Reporter | None = None
    unusual: VolumeLimits | None = None
    ledger: Ledger | None = None
    volume_alert: VolumeAlert | None = None
    database_keys: DatabaseKeys | None = None
    blocklist_refresh: BlocklistRefresh | None = None
    spent_today: SpentToday | None = None
    _starts: list[Callable[[], None]] = field(default_factory=list)
    _ends: list[Callable[[], None]] = field(default_factory=list)
    _at_exit: Callable[[], None] | None = None  # registered for the end of the process

    def add(self, start: Callable[[], None] | None, end: Callable[[], None] | None) -> None:
        """Register a function for the start of the process that serves, and one for its end."""
        if start is not None:
            self._starts.append(start)
        if end is not None:
            self._ends.append(end)

    def start(self) -> None:
        """Start all services, and register `close` for the end of the process."""
        for start in self._starts:
            start()
        # Gunicorn's workers end by sys.exit, whatever the signal. By a weak reference: an app
        # that is dropped is freed.
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)

    def close(self) -> None:
        """End all services in reverse order; what is not written yet is written."""
        if self._at_exit is not None:
            atexit.unregister(self._at_exit)
        while self._ends:
            self._ends.pop()()

    def page(self, identify: Callable[[], Caller]) -> Blueprint:
        """Return the route ``GET /v1/usage``; there must be a ledger."""
        from app.api.usage import UsageApi

        assert self.reporter is not None and self.unusual is not None  # noqa: S101, PT018 - for mypy
        return UsageApi(self.reporter, self.unusual, identify).blueprint()

    def console_pages(self, settings: Settings) -> list[Page]:
        """Return the console's pages that need the ledger's database, or say how to have one."""
        if not settings.console.enabled:
            return []
        if self.reporter is None or self.database is None:
            from app.console.use.without_ledger import use_page_without_ledger

            return [use_page_without_ledger(settings)]
        from app.console.keys.blocking import Blocking
        from app.console.use.page import Ledger, use_page

        assert self.unusual is not None and self.volume_alert is not None  # noqa: S101, PT018 - for mypy
        blocking = Blocking(settings, self.database, self.blocklist, self._wake)
        callers = partial(self._callers, settings)
        ledger = Ledger(self.reporter, self.unusual, self.volume_alert, callers)
        pages = [use_page(settings, ledger, blocking)]
        if self.database_keys is not None:
            from app.console.keys.page import Keys, keys_page

            keys = Keys(settings, self.database, self.blocklist, self._wake)
            pages.append(keys_page(keys, blocking))
        return pages

    def _callers(self, settings: Settings) -> dict[str, Caller]:
        """Return the callers of the table of keys and of the settings, by name."""
        of_table = self.database_keys.callers() if self.database_keys is not None else {}
        return of_table | {name: caller_of(key) for name, key in settings.keys.items()}

    def _wake(self) -> None:
        """Take over what this process has changed in the database, without a pause."""
        for refresh in (self.database_keys, self.blocklist_refresh):
            if refresh is not None:
                refresh.wake()


def _close_at_exit(services: weakref.ref[Services]) -> None:
    if (alive := services()) is not None:
        alive.close()


def make_services(settings: Settings) -> Services:
    """Make the services that the settings name; packages of others need not be installed."""
    services = Services(Blocklist(settings.blocked_keys, settings.blocked_users))
    if settings.usage is not None:
        _add_database(services, settings, settings.usage)
    else:
        from app.usage.audit_digests import log_settings

        services.add(lambda: log_settings(settings), None)
    if settings.oidc is not None:
        from app.auth.jwks import Jwks
        from app.auth.oidc import JwtAuthenticator
        from app.auth.snapshots import JwksSnapshot

        url = settings.oidc.jwks_url
        snapshot = JwksSnapshot(directory_for(f"jwks {url}"))
        jwks = Jwks(url, settings.oidc.refresh, snapshot=snapshot)
        services.key_sources.append(JwtAuthenticator(settings.oidc, jwks))
        services.add(jwks.start, jwks.stop)
    return services


def _add_database(services: Services, settings: Settings, usage: UsageSettings) -> None:
    from app.database.engine import Database
    from app.usage.audit_settings import SettingsAudit
    from app.usage.ledger.journal import Journal, directory_of
    from app.usage.ledger.ledger import Ledger
    from app.usage.ledger.shipper import Chore, Shipper
    from app.usage.ledger.spool import Spool
    from app.usage.record import Recorder
    from app.usage.reports.reporter import REPORT_TIME_LIMIT_S, Reporter
    from app.usage.reports.spent_today import SpentToday
    from app.usage.reports.volume_alert import VolumeAlert
    from app.usage.store.store import DAY_MS, Store, VolumeLimits

    database, reports = Database(usage.url), Database(usage.url, REPORT_TIME_LIMIT_S)
    services.add(None, database.close)
    services.add(None, reports.close)
    services.database = database
    services.store = store = Store(database)
    services.reporter = Reporter(Store(reports))
    day = Calendar("day", zone_of(settings.limits.timezone))
    services.spent_today = SpentToday(services.reporter, day)
    services.unusual = unusual = VolumeLimits(
        usage.unusual.requests_per_hour, usage.unusual.tokens_per_hour
    )
    services.volume_alert = alert = VolumeAlert(store, unusual)
    chores = [Chore(AUDIT_RETRY_S, SettingsAudit(database, settings))]
    if usage.retention_days is not None:
        age = usage.retention_days * DAY_MS
        chores.append(
            Chore(PURGE_INTERVAL_S, lambda: store.purge_older(age, int(time.time() * 1000)))
        )
    if unusual:
        chores.append(Chore(VOLUME_CHECK_INTERVAL_S, alert))
    writer = Ledger.new_writer()
    journals = directory_of(usage.spool)
    spool = Spool(usage.spool, writer, usage.spool_bytes, journals)
    shipper = Shipper(store, spool, chores)
    journal, recorder = Journal(journals, writer), Recorder(settings.models)
    services.ledger = ledger = Ledger(recorder, spool, shipper, writer, journal)
    services.observers.append(ledger)
    services.add(ledger.start, ledger.close)
    _add_blocks(services, database, Path(usage.spool))
    if usage.keys:
        _add_table_keys(services, database, Path(usage.spool))


def _add_blocks(services: Services, database: Database, spool: Path) -> None:
    from app.auth.block_refresh import BlocklistRefresh
    from app.auth.block_table import BlockTable

    table, path = BlockTable(database), spool / "blocks.json"
    services.blocklist_refresh = refresh = BlocklistRefresh(table, services.blocklist, path)
    services.add(refresh.start, refresh.stop)


def _add_table_keys(services: Services, database: Database, spool: Path) -> None:
    from app.auth.database_keys import DatabaseKeys
    from app.auth.key_table import KeyTable
    from app.auth.snapshots import KeySnapshot

    # In the spool's directory: it is on this host, and all workers can write to it.
    services.database_keys = keys = DatabaseKeys(
        KeyTable(database), snapshot=KeySnapshot(spool / "keys.json")
    )
    services.key_sources.append(keys)
    services.add(keys.start, keys.stop)
