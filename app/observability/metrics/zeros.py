"""Creates counters at zero for the models, deployments and keys of the settings.

Prometheus' ``increase()`` and ``rate()`` compare two samples. A counter that appears with its first
event has no earlier sample, so an alert on any increase would miss that event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from app.config import Settings
from app.dispatch.drift.checker import CheckOutcome
from app.errors import ClientError, InternalError, ProviderError, RateLimited, Scope, client_errors
from app.limits.key_labels import MAX_LABELLED_KEYS, NO_KEY, OTHER_KEYS
from app.observability.metrics import catalog
from app.observability.metrics.catalog import Metric
from app.observability.metrics.files import Files
from app.observability.metrics.meter import LIMITS_BY_CODE, Result
from app.observability.sides import side_of

#: Bounds of the series that start at zero: each is read at every scrape, from every worker.
MAX_MODELS_FROM_ZERO = 50
MAX_DEPLOYMENTS_FROM_ZERO = 20  # each has 17 series for each error

#: Scopes of the errors of embeddings requests; errors of HTTP itself are not counted.
_EMBEDDINGS_SCOPES = {Scope.EMBEDDINGS, Scope.KEY, Scope.UNREAD}


def start_at_zero(files: Files, settings: Settings) -> None:
    """Create the counters of the models, deployments and keys of these settings."""
    for metric, *labels in _counters(settings):
        files.number(metric, *labels)
    deployments = list(_deployments(settings))[:MAX_DEPLOYMENTS_FROM_ZERO]
    for cause in ("", *sorted(_causes(ProviderError))):
        for model, provider in deployments:
            files.distribution(catalog.CALL_DURATION, model, provider, cause)


def _counters(settings: Settings) -> Iterator[tuple[Metric, *tuple[str, ...]]]:
    models = sorted(settings.models)[:MAX_MODELS_FROM_ZERO]
    kinds = [kind for kind in client_errors() if _counts(kind)]
    statuses = sorted({200} | {kind.status for kind in kinds})
    for model in ("", *models):  # empty: a model that is not configured
        for status in statuses:
            yield catalog.REQUESTS, "embeddings", model, str(status)
        for kind in kinds:
            for admitted in (False, True):
                side = side_of(kind(""), admitted)
                yield catalog.ERRORS, side, kind.code or kind.type, model
    for model in models:
        for metric in (catalog.ITEMS, catalog.TOKENS, catalog.CACHED_TOKENS):
            yield metric, model
    for limit in {*LIMITS_BY_CODE.values(), *RateLimited.types}:
        yield catalog.REFUSED, limit
    for deployment in _deployments(settings):
        for metric in (catalog.BILLED_TOKENS, catalog.EJECTIONS, catalog.HEDGES):
            yield metric, *deployment
        for cause in _causes(ProviderError):
            yield catalog.RETRIES, *deployment, cause
        if settings.check is not None:
            for outcome in get_args(CheckOutcome):
                yield catalog.SPACE_CHECKS, *deployment, outcome
    for key in (NO_KEY, OTHER_KEYS, *sorted(settings.keys)[:MAX_LABELLED_KEYS]):
        for result in get_args(Result):
            yield catalog.KEY_REQUESTS, key, result


def _counts(kind: type[ClientError]) -> bool:
    return kind is InternalError or not _EMBEDDINGS_SCOPES.isdisjoint(kind.scopes)


def _deployments(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the labels ``model`` and ``provider`` of each deployment."""
    for name in sorted(settings.models)[:MAX_MODELS_FROM_ZERO]:
        for provider in dict.fromkeys(d.provider for d in settings.models[name].deployments):
            yield name, provider


def _causes(kind: type[ProviderError]) -> set[str]:
    found = {kind.cause} if kind is not ProviderError else set()
    return found.union(*map(_causes, kind.__subclasses__()))
