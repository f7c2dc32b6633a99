"""The factory: `create_app` makes and connects all objects of the proxy, here and nowhere else.

* `services`: those that only some settings name: ledger, table of keys, identity provider.
* `warnings`: what a start logs of settings that may not be meant so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask

from app import config
from app.api.client import ClientAddresses
from app.api.embedder import Embedder
from app.api.flask_app import Proxy, install_hooks
from app.api.views import Api
from app.auth.authenticator import Authenticator, Keyring
from app.cache import make_cache
from app.cache.memory import Caches
from app.config import Settings
from app.config.spaces import served_apart
from app.console.api_docs.docs import Docs
from app.console.build import make_console
from app.console.live.now_page import now_page
from app.console.live.request_page import request_page
from app.console.playground.embedding import PlaygroundEmbedder
from app.dispatch import Dispatcher
from app.dispatch.events import Events
from app.exchange import Observer
from app.factory import warnings
from app.factory.services import Services, make_services
from app.limits.leases.worker_leases import make_leases
from app.limits.limiter import Limiter, make_limiter
from app.observability import build as observability
from app.observability import logs
from app.observability.metrics.directory import VARIABLE
from app.observability.request_record import RequestRecords
from app.pipeline import Pipeline
from app.providers import registry
from app.providers.base import Provider
from app.tokens.tokenizers import Tokenizer
from app.usage.audit_digests import address_without_secrets

if TYPE_CHECKING:
    from app.dispatch.drift.watch import DriftWatch
    from app.observability.build import Metrics


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
    live = observability.live(checked)
    events: list[Events] = [meter] if meter is not None else []
    if live is not None:
        events.append(live.figures)
    host_store = _host_store(checked)
    _check_addresses(checked)
    dispatcher = Dispatcher(
        checked,
        providers,
        tokenizers=tokenizers,
        events=events,
        tracer=tracing,
        has_host_store=host_store is not None,
    )
    cache = make_cache(checked.cache)
    widths = {name: model.dimensions for name, model in checked.models.items()}
    scope = checked.cache.scope if checked.cache else "shared"
    spaces = {name: model.space for name, model in checked.models.items()}
    fingerprints = _fingerprints(dispatcher, tokenizers)
    apart = served_apart(checked.models, _places(checked, providers))
    pipeline = Pipeline(dispatcher, cache, scope, widths, spaces, fingerprints, apart)

    flask = Proxy("app")
    services = flask.extensions["services"] = make_services(checked)
    start_observers = [observer for observer in (tracing, meter) if observer is not None]
    consumers = [logs.log_request] if live is None else [logs.log_request, live.keep]
    finish_observers: list[Observer] = [
        *start_observers,
        *services.observers,
        RequestRecords(*consumers),
    ]
    if live is not None:
        live.dispatcher = dispatcher
        services.add(live.start, live.stop)
    addresses = ClientAddresses(checked.trusted_proxies)
    install_hooks(flask, finish_observers, start_observers, addresses)
    for lease in make_leases(checked, dispatcher, host_store):
        services.add(lease.start, lease.close)
    drift_watch = _add_drift_watch(services, checked, dispatcher)
    limiter = make_limiter(checked)
    services.add(limiter.soft_limits.start, limiter.soft_limits.close)
    keyring = Keyring(checked.keys.values())
    authenticator = Authenticator(keyring, services.key_sources, services.blocklist)
    embedder = Embedder(checked, authenticator, limiter, pipeline)
    api = Api(checked, authenticator, embedder, dispatcher)
    flask.register_blueprint(api.blueprint())
    flask.register_blueprint(Docs(checked).blueprint())
    playground = PlaygroundEmbedder(embedder, pipeline, finish_observers, start_observers)
    deployments = dispatcher.deployments()
    pages = services.console_pages(checked)
    if live is not None:
        pages += [now_page(live, services.spent_today), request_page(live)]
    for blueprint in make_console(
        checked, authenticator, addresses, playground, deployments, pages
    ):
        flask.register_blueprint(blueprint)
    if metrics:
        _register_gauges(metrics, dispatcher, cache, services, limiter)
        if drift_watch is not None:
            metrics.gauges.space_checks(drift_watch.counts, drift_watch.ages, drift_watch.every)
        flask.register_blueprint(metrics.page(api.require_admin, addresses.are_within))
    if services.reporter is not None:
        flask.register_blueprint(services.page(api.caller))
    if start:
        warnings.warn_of_cut_texts(dispatcher)
        warnings.warn_of_exceeded_limits(checked, host_store is not None)
        warnings.warn_of_one_id(apart)
        services.start()
    return flask


def _check_addresses(settings: Settings) -> None:
    """Raise `SettingsError` for a Redis or Valkey whose address redis-py cannot use.

    It would count as away: no vector would be shared, and no limit checked.
    """
    cache, limits = settings.cache, settings.limits
    for name, url in (("CACHE", cache.url if cache else None), ("LIMITS", limits.url)):
        if url is None:
            continue
        from app.redis.connect import check_address  # redis-py is not needed otherwise

        try:
            check_address(url)
        except ValueError as error:
            raise config.SettingsError(f"{name}['url']: {error}") from error


def _host_store(settings: Settings) -> Path | None:
    """Return the directory that gunicorn's workers share, where they lease slots by it."""
    directory = os.environ.get(VARIABLE)
    if directory is None or settings.limits.url is not None or settings.workers == 1:
        return None
    return Path(directory)


def _add_drift_watch(
    services: Services, settings: Settings, dispatcher: Dispatcher
) -> DriftWatch | None:
    """Watch for drift in gunicorn's workers, which have a directory that they share.

    Returns None elsewhere, and where ``CHECK`` is None.
    """
    directory, check = os.environ.get(VARIABLE), settings.check
    if directory is None or check is None:
        if check is not None and check.ejects:
            services.add(warnings.warn_of_no_watch, None)
        return None
    from app.dispatch.drift.build import make_watch

    made = make_watch(dispatcher, settings, check, Path(directory), services.database)
    services.add(made.start, made.stop)
    return made


def _fingerprints(dispatcher: Dispatcher, tokenizers: Mapping[str, Tokenizer]) -> Mapping[str, str]:
    """Return the fingerprints of the tokenizers that decode token ids for a provider, by model."""
    decoding = {model for model, d in dispatcher.deployments() if not d.takes_tokens}
    return {model: t.fingerprint for model, t in tokenizers.items() if model in decoding}


def _places(settings: Settings, providers: Mapping[str, Provider]) -> dict[str, str]:
    """Return where each provider is: at its address, or with a vendor, whose regions are alike."""
    own, found = settings.providers, dict[str, str]()
    addresses = {name: getattr(provider, "address", "") for name, provider in providers.items()}
    of_vendors = {
        (own[name].kind, address)
        for name, address in addresses.items()
        if own[name].base_url is None
        and urlsplit(address).hostname not in ("127.0.0.1", "localhost")
    }
    for name, address in addresses.items():
        kind = own[name].kind
        is_vendor = (kind, address) in of_vendors  # also where its base_url is the vendor's own
        found[name] = kind if is_vendor else address_without_secrets(address) or ""
    return found


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
    if services.volume_alert is not None:
        gauges.volume(services.volume_alert)
    gauges.limits(limiter.windows.state)
    gauges.soft_limits(limiter.soft_limits)
