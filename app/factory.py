"""`create_app`: makes all objects of the proxy and connects them, here and nowhere else."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask

from app import config
from app.api import hooks
from app.api.client_address import ClientAddresses
from app.api.proxy import Proxy
from app.api.views import Api
from app.auth.authenticator import Authenticator, KeySource
from app.auth.keys import Keyring
from app.cache import make_cache
from app.cache.memory import Caches
from app.concurrency.host_memory import directory_for
from app.config import Settings, UsageSettings
from app.console.pages import Console
from app.dispatch import Dispatcher
from app.dispatch.leased_quota import LeasedQuota
from app.dispatch.shares import exceeded_limits
from app.domain import Caller
from app.exchange import Observer
from app.limits.limiter import Limiter, make_limiter
from app.observability import build as observability
from app.observability import logs
from app.observability.metrics.directory import VARIABLE
from app.observability.request_log import RequestLog
from app.pipeline import Pipeline
from app.providers import registry
from app.tokens.tokenizers import Tokenizer

if TYPE_CHECKING:
    from app.database.engine import Database
    from app.drift.watch import DriftWatch
    from app.observability.build import Metrics
    from app.usage.ledger import Ledger
    from app.usage.queries import VolumeLimits
    from app.usage.reporter import Reporter
    from app.usage.store import Store
    from app.usage.watch import Watch

_log = logging.getLogger("app.factory")
PURGE_INTERVAL_S = 3600.0
VOLUME_CHECK_INTERVAL_S = 60.0
#: Seconds between two attempts to write the settings in use to the audit log.
AUDIT_RETRY_S = 60.0


def create_app(settings: Mapping[str, Any] | None = None, *, start: bool = True) -> Flask:
    """Make the WSGI app. Raises `app.config.SettingsError`.

    ``settings`` by name (``PROVIDERS`` …) replace those of `app.config.load`. ``start`` False makes
    it without its background threads, to check settings.
    """
    checked = config.load(registry) if settings is None else config.check(settings, registry)
    logs.configure(checked.logs)

    providers, tokenizers = registry.make_used(checked), config.load_tokenizers(checked)
    metrics = observability.metrics(checked)
    tracing = observability.tracing(checked, providers)
    meter = metrics.meter if metrics else None
    dispatcher = Dispatcher(checked, providers, tokenizers=tokenizers, events=meter, tracer=tracing)
    cache = make_cache(checked.cache)
    widths = {name: model.dimensions for name, model in checked.models.items()}
    scope = checked.cache.scope if checked.cache else "shared"
    spaces = {name: model.space for name, model in checked.models.items()}
    fingerprints = _fingerprints(dispatcher, tokenizers)
    pipeline = Pipeline(dispatcher, cache, scope, widths, spaces, fingerprints)

    flask = Proxy("app")
    services = flask.extensions["services"] = build_services(checked)
    start_observers = [observer for observer in (tracing, meter) if observer is not None]
    finish_observers = [*start_observers, *services.observers, RequestLog()]
    addresses = ClientAddresses(checked.trusted_proxies)
    hooks.install(flask, finish_observers, start_observers, addresses)
    _add_leases(services, checked, dispatcher)
    drift_watch = _add_drift_watch(services, checked, dispatcher)
    limiter = make_limiter(checked)
    services.add(limiter.soft_limits.start, limiter.soft_limits.close)
    keyring = Keyring(checked.keys.values())
    authenticator = Authenticator(keyring, services.key_sources, checked.blocked_keys)
    api = Api(checked, authenticator, limiter, pipeline, dispatcher)
    flask.register_blueprint(api.blueprint())
    flask.register_blueprint(Console(checked).blueprint())
    if metrics:
        _register_gauges(metrics, dispatcher, cache, services, limiter)
        if drift_watch is not None:
            metrics.gauges.space_checks(drift_watch.counts, drift_watch.ages, drift_watch.every)
        flask.register_blueprint(metrics.page(api.require_admin, addresses.are_within))
    if services.reporter is not None:
        flask.register_blueprint(services.page(api.caller))
    if start:
        _warn_of_cut_texts(dispatcher)
        _warn_of_exceeded_limits(checked)
        services.start()
    return flask


def _add_leases(services: Services, settings: Settings, dispatcher: Dispatcher) -> None:
    """Share the quotas of deployments with all workers, where ``LIMITS`` has a url."""
    limits, deployments = settings.limits, dispatcher.leased_quotas()
    if limits.url is None or not deployments:
        return
    from app.limits.leases import QuotaLeases

    leases = QuotaLeases(
        limits.url,
        limits.namespace,
        limits.timeout,
        {name: d.quota for name, d in deployments.items() if isinstance(d.quota, LeasedQuota)},
        lambda name: dispatcher.resume(deployments[name].queue),
    )
    services.add(leases.start, leases.close)


def _add_drift_watch(
    services: Services, settings: Settings, dispatcher: Dispatcher
) -> DriftWatch | None:
    """Watch for drift in gunicorn's workers, which have a directory that they share.

    Returns None elsewhere, and where ``CHECK`` is None.
    """
    directory, check = os.environ.get(VARIABLE), settings.check
    if directory is None or check is None:
        if check is not None and check.ejects:
            services.add(_warn_of_no_watch, None)
        return None
    from app.drift.build import watch

    made = watch(dispatcher, settings, check, Path(directory), services.database)
    services.add(made.start, made.stop)
    return made


def _warn_of_no_watch() -> None:
    _log.warning(
        "CHECK: no deployment is compared with its reference, so none is ejected for drift: the "
        "server is not started with deploy/gunicorn.conf.py, or has no directory for its workers"
    )


def _fingerprints(dispatcher: Dispatcher, tokenizers: Mapping[str, Tokenizer]) -> Mapping[str, str]:
    """Return the fingerprints of the tokenizers that decode token ids for a provider, by model."""
    decoding = {model for model, d in dispatcher.deployments() if not d.takes_tokens}
    return {model: t.fingerprint for model, t in tokenizers.items() if model in decoding}


def _warn_of_cut_texts(dispatcher: Dispatcher) -> None:
    """Log the deployments that may embed only the beginning of a long text, in one line."""
    if cutting := dispatcher.cutting_deployments():
        _log.warning(
            "texts over the model's context are cut silently, or may be, by %s: set "
            "'max_item_tokens' of these deployments and the 'tokenizer' of their models "
            "(docs/providers.md)",
            ", ".join(cutting),
        )


def _warn_of_exceeded_limits(settings: Settings) -> None:
    """Log the limits of calls at once that are below the number of workers, in one line."""
    if exceeded := exceeded_limits(settings):
        _log.warning(
            "each of %d workers makes at least one call at once, which together may be more than "
            "%s: set WEB_CONCURRENCY to the smallest of these, or raise them (docs/dispatch.md)",
            settings.workers,
            ", ".join(exceeded),
        )


def _register_gauges(
    metrics: Metrics,
    dispatcher: Dispatcher,
    cache: Caches | None,
    services: Services,
    limiter: Limiter,
) -> None:
    """Register the objects whose state the gauges report."""
    gauges = metrics.gauges
    gauges.dispatch(dispatcher)
    for level, stats in cache.levels() if cache else ():
        gauges.cache(level, stats)
    if services.ledger is not None:
        ledger = services.ledger
        gauges.ledger(lambda: ledger.state)
    if services.watch is not None:
        gauges.watch(services.watch)
    gauges.limits(limiter.windows.state)
    gauges.soft_limits(limiter.soft_limits)


@dataclass
class Services:
    """The configured services: ledger, table of keys, identity provider.

    `start` them in the process that serves.
    """

    key_sources: list[KeySource] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    database: Database | None = None
    store: Store | None = None
    reporter: Reporter | None = None
    unusual: VolumeLimits | None = None
    ledger: Ledger | None = None
    watch: Watch | None = None
    _starts: list[Callable[[], None]] = field(default_factory=list)
    _ends: list[Callable[[], None]] = field(default_factory=list)

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
        atexit.register(self.close)  # gunicorn's workers end by sys.exit, whatever the signal

    def close(self) -> None:
        """End all services in reverse order; what is not written yet is written."""
        atexit.unregister(self.close)
        while self._ends:
            self._ends.pop()()

    def page(self, identify: Callable[[], Caller]) -> Blueprint:
        """Return the route ``GET /v1/usage``; there must be a ledger."""
        from app.api.usage import UsageApi

        assert self.reporter is not None and self.unusual is not None  # noqa: S101, PT018 - for mypy
        return UsageApi(self.reporter, self.unusual, identify).blueprint()


def build_services(settings: Settings) -> Services:
    """Make the services that the settings name; packages of others need not be installed."""
    services = Services()
    if settings.usage is not None:
        _add_database(services, settings, settings.usage)
    else:
        from app.usage.audit_digests import log_settings

        services.add(lambda: log_settings(settings), None)
    if settings.oidc is not None:
        from app.auth.jwks import Jwks
        from app.auth.jwks_snapshot import JwksSnapshot
        from app.auth.oidc import JwtAuthenticator

        url = settings.oidc.jwks_url
        snapshot = JwksSnapshot(directory_for(f"jwks {url}"))
        jwks = Jwks(url, settings.oidc.refresh, snapshot=snapshot)
        services.key_sources.append(JwtAuthenticator(settings.oidc, jwks))
        services.add(jwks.start, jwks.stop)
    return services


def _add_database(services: Services, settings: Settings, usage: UsageSettings) -> None:
    from app.database.engine import Database
    from app.usage.audit_settings import SettingsAudit
    from app.usage.journal import Journal, directory_of
    from app.usage.ledger import Ledger
    from app.usage.record import Recorder
    from app.usage.reporter import REPORT_TIME_LIMIT_S, Reporter
    from app.usage.shipper import Chore, Shipper
    from app.usage.spool import Spool
    from app.usage.store import DAY_MS, Store, VolumeLimits
    from app.usage.watch import VolumeAlert, Watch

    database, reports = Database(usage.url), Database(usage.url, REPORT_TIME_LIMIT_S)
    services.add(None, database.close)
    services.add(None, reports.close)
    services.database = database
    services.store = store = Store(database)
    services.reporter = Reporter(Store(reports))
    services.unusual = unusual = VolumeLimits(
        usage.unusual.requests_per_hour, usage.unusual.tokens_per_hour
    )
    services.watch = watch = Watch(settings.keys)
    chores = [Chore(AUDIT_RETRY_S, SettingsAudit(database, settings))]
    if usage.retention_days is not None:
        age = usage.retention_days * DAY_MS
        chores.append(
            Chore(PURGE_INTERVAL_S, lambda: store.purge_older(age, int(time.time() * 1000)))
        )
    if unusual:
        chores.append(Chore(VOLUME_CHECK_INTERVAL_S, VolumeAlert(store, unusual, watch)))
    writer = Ledger.new_writer()
    journals = directory_of(usage.spool)
    spool = Spool(usage.spool, writer, usage.spool_bytes, journals)
    shipper = Shipper(store, spool, chores)
    journal, recorder = Journal(journals, writer), Recorder(settings.models)
    services.ledger = ledger = Ledger(recorder, spool, shipper, writer, journal)
    services.observers += [ledger, watch]
    services.add(ledger.start, ledger.close)
    if usage.keys:
        from app.auth.key_table import KeyTable
        from app.auth.snapshot import Snapshot
        from app.auth.table_keys import TableKeys

        # In the spool's directory: it is on this host, and all workers can write to it.
        snapshot = Snapshot(Path(usage.spool) / "keys.json")
        keys = TableKeys(KeyTable(database), snapshot=snapshot)
        services.key_sources.append(keys)
        services.add(keys.start, keys.stop)
