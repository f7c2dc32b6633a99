"""An OpenAI-compatible embeddings proxy. What happens to ``POST /v1/embeddings``, in order:

1. Edge (`app.api`): the request gets an id and its clock starts.
2. Who (`app.access`): bearer key → `Caller`.
3. What (`app.api.schemas`): JSON → `EmbeddingRequest`, checked by marshmallow, here and nowhere
   else.
4. Pipeline (`app.pipeline`): the story of the rest in one screen.
5. Cache (`app.cache`): the items that are known leave the request here.
6. Dispatch (`app.dispatch`): a deployment is chosen, called, and what it answers is checked, all
   inside the caller's deadline.
7. Provider (`app.providers`): one module a wire format; `app.providers.transport` does the HTTP,
   over `app.providers.connection`.
8. Vectors (`app.vectors`): float32 bytes → base64 or floats, for whoever asks (`app.api.answers`).
9. After (`app.logs`, `app.metrics`, `app.tracing`, `app.usage`): one log line, numbers, spans, a
   row in the ledger.

Values that travel: `app.domain`. What can go wrong: `app.errors`. What can be set: `app.settings`,
checked by `app.config`. `create_app` is the only place where the parts are put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

#: The version of the package. setup.cfg reads it here, without running this file.
__version__ = "0.2.0"


def create_app(settings: Mapping[str, Any] | None = None, *, start: bool = True) -> Flask:
    """The WSGI app. ``settings`` by name (``PROVIDERS`` …) replace those of `app.config.load`.

    ``start`` False builds it without its background threads, to check settings.
    Raises `app.config.SettingsError`.
    """
    # Imported here, since `import app` alone must stay light: gunicorn's master checks the settings
    # before its workers patch the standard library, and so may not load requests.
    from app import config, logs, observers
    from app.access.door import Door
    from app.access.keys import Keyring
    from app.access.limits import make_limiter
    from app.api import hooks
    from app.api.client_address import ClientAddresses
    from app.api.exchange import RequestLog
    from app.api.proxy import Proxy
    from app.api.views import Api
    from app.cache import make_cache
    from app.console.pages import Console
    from app.dispatch import Dispatcher
    from app.pipeline import Pipeline
    from app.providers import registry
    from app.usage import services

    checked = config.load(registry) if settings is None else config.check(settings, registry)
    logs.configure(checked.logs)

    providers, tokenizers = registry.make_used(checked), config.load_tokenizers(checked)
    metrics, tracing = observers.metrics(checked), observers.tracing(checked, providers)
    meter = metrics.meter if metrics else None
    dispatcher = Dispatcher(checked, providers, tokenizers=tokenizers, events=meter, tracer=tracing)
    cache = make_cache(checked.cache)
    widths = {name: model.dimensions for name, model in checked.models.items()}
    scope = checked.cache.scope if checked.cache else "shared"
    pipeline = Pipeline(dispatcher, cache, scope, widths)

    flask = Proxy(__name__)
    extras = flask.extensions["services"] = services.build(checked)
    told = (tracing, meter, *extras.observers, RequestLog())
    greeted = [greeter for greeter in (tracing, meter) if greeter is not None]
    addresses = ClientAddresses(checked.trusted_proxies)
    hooks.install(
        flask, [observer for observer in told if observer is not None], greeted, addresses
    )
    keyring, limiter = Keyring(checked.keys.values()), make_limiter(checked)
    extras.runs(limiter.soft_limits.start, limiter.soft_limits.close)
    door = Door(keyring, extras.key_sources, checked.blocked_keys)
    api = Api(checked, door, limiter, pipeline, dispatcher)
    flask.register_blueprint(api.blueprint())
    flask.register_blueprint(Console(checked).blueprint())
    if metrics:
        metrics.gauges.dispatch(dispatcher)
        if cache:
            for level, stats in cache.levels():
                metrics.gauges.cache(level, stats)
        if extras.ledger is not None:
            ledger = extras.ledger
            metrics.gauges.ledger(lambda: ledger.state)
        if extras.watch is not None:
            metrics.gauges.watch(extras.watch)
        metrics.gauges.limits(limiter.windows.state)
        metrics.gauges.soft_limits(limiter.soft_limits)
        flask.register_blueprint(metrics.page(api.must_be_admin, addresses.are_within))
    if extras.store is not None:
        flask.register_blueprint(extras.page(api.caller))
    if start:
        extras.start()
    return flask
