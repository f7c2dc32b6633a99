"""Counts requests and events of dispatch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.dispatch.events import Events
from app.domain import TIERS, Source, Vectors
from app.errors import ClientError, ProviderError, RateLimited
from app.limits.key_labels import NO_KEY, KeyLabels
from app.limits.pricing import NANODOLLARS, Prices
from app.observability.metrics import catalog
from app.observability.metrics.catalog import Metric
from app.observability.metrics.files import Distribution, Files, Number
from app.observability.sides import side_of

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.attempts import Attempt
    from app.exchange import Exchange

Result = Literal["ok", "refused", "invalid", "failed"]

#: Limits by the code of their error; the limits of a key have its type instead.
LIMITS_BY_CODE = {
    "overloaded": "waiting",
    "request_too_large": "body",
    "insufficient_quota": "budget",
}


class _Served(NamedTuple):
    """The numbers that a successful embeddings request changes, for one model."""

    duration: Distribution
    overhead: Distribution
    items: Number
    tokens: Number
    cached: Number


class _Started(NamedTuple):
    """The numbers that a call changes when it starts, for one deployment."""

    requests: Distribution
    items: Distribution
    waits: dict[str, Distribution]  # by tier


class _Answered(NamedTuple):
    """The numbers that a call changes when it has returned vectors, for one deployment."""

    duration: Distribution
    billed: Number


class Meter(Events):
    """Counts, as an `app.exchange.Observer` and as an `app.dispatch.events.Events`.

    Each number is looked up in the files once and then kept. The lock guards the
    dictionaries and the numbers themselves, for a few microseconds.
    """

    def __init__(
        self,
        files: Files,
        models: Collection[str],
        prices: Prices | None = None,
        keys: Iterable[str] = (),
    ) -> None:
        self._files = files
        self._models = frozenset(models)
        self._prices = prices or Prices({})
        self._key_labels = KeyLabels(keys)
        self._lock = uncontended_lock()
        self._numbers: dict[tuple[object, ...], Any] = {}
        self._started: dict[Deployment, _Started] = {}
        self._answered: dict[Deployment, _Answered] = {}
        self._in_flight = files.number(catalog.IN_FLIGHT)

    # As an observer of exchanges

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        with self._lock:
            self._in_flight.add(1)

    def finished(self, exchange: Exchange, status: int) -> None:
        request, outcome, error = exchange.request, exchange.outcome, exchange.error
        model = request.model if request is not None and request.model in self._models else ""
        key = self._key_labels.label(exchange.caller.name if exchange.caller else NO_KEY)
        with self._lock:
            self._in_flight.add(-1)
            self._requests(exchange.route, model, status).add(1)
            if exchange.asks_for_embeddings:
                self._number(catalog.KEY_REQUESTS, key, result_of(status)).add(1)
            if purchases := exchange.purchases:
                self._count_cost(purchases, model, key)
            if error is not None:
                self._count_error(error, model, exchange.admitted)
            elif outcome is not None and request is not None:
                served = self._served(model)
                seconds = exchange.seconds
                served.duration.observe(seconds)
                waited = outcome.queue_seconds + outcome.upstream_seconds
                # Rounding of the times of parallel calls can make this negative.
                served.overhead.observe(max(0.0, seconds - waited))
                served.items.add(len(request.items))
                served.tokens.add(outcome.prompt_tokens)
                if outcome.cached_tokens:
                    served.cached.add(outcome.cached_tokens)

    def _count_cost(self, purchases: Mapping[Source, int], model: str, key: str) -> None:
        dollars = self._prices.cost_of(model, purchases) / NANODOLLARS
        if dollars:
            self._number(catalog.COST, model).add(dollars)
            self._number(catalog.KEY_COST, key).add(dollars)

    def _count_error(self, error: ClientError, model: str, admitted: bool) -> None:
        code = error.code or error.type
        side = side_of(error, admitted)
        self._number(catalog.ERRORS, side, code, model).add(1)
        limit = LIMITS_BY_CODE.get(code)
        if limit is None and isinstance(error, RateLimited) and side == "policy":
            limit = error.type
        if limit is not None:
            self._number(catalog.REFUSED, limit).add(1)

    # As events of dispatch

    def call_started(self, deployment: Deployment, attempts: Sequence[Attempt], now: float) -> None:
        with self._lock:
            started = self._started.get(deployment) or self._create_started(deployment)
            started.requests.observe(len(attempts))
            items = 0
            for attempt in attempts:
                tier = "flex" if attempt.is_background else attempt.flow.tier
                started.waits[tier].observe(now - attempt.queued_at)
                items += attempt.size
            started.items.observe(items)

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        with self._lock:
            answered = self._answered.get(deployment) or self._create_answered(model, deployment)
            answered.duration.observe(seconds)
            answered.billed.add(sum(vectors.tokens))

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        with self._lock:
            labels = model, deployment.provider_name, error.cause
            self._distribution(catalog.CALL_DURATION, *labels).observe(seconds)

    def ejected(self, model: str, deployment: Deployment) -> None:
        with self._lock:
            self._number(catalog.EJECTIONS, model, deployment.provider_name).add(1)

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        with self._lock:
            self._number(catalog.RETRIES, model, deployment.provider_name, error.cause).add(1)

    def hedged(self, model: str, deployment: Deployment) -> None:
        with self._lock:
            self._number(catalog.HEDGES, model, deployment.provider_name).add(1)

    # For `app.observability.metrics.gauges`

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._number(metric, *labels).add(amount)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._number(metric, *labels).set(value)

    # Numbers by their labels

    def _requests(self, route: str, model: str, status: int) -> Number:
        key = (route, model, status)
        found: Number | None = self._numbers.get(key)
        if found is None:
            # Flask's endpoints are "blueprint.view".
            view = route.rpartition(".")[2] or "unknown"
            found = self._files.number(catalog.REQUESTS, view, model, str(status))
            self._numbers[key] = found
        return found

    def _served(self, model: str) -> _Served:
        found: _Served | None = self._numbers.get((model,))
        if found is None:
            found = self._numbers[(model,)] = _Served(
                self._files.distribution(catalog.DURATION, model),
                self._files.distribution(catalog.OVERHEAD, model),
                self._files.number(catalog.ITEMS, model),
                self._files.number(catalog.TOKENS, model),
                self._files.number(catalog.CACHED_TOKENS, model),
            )
        return found

    def _create_started(self, deployment: Deployment) -> _Started:
        name = deployment.provider_name
        started = self._started[deployment] = _Started(
            self._files.distribution(catalog.CALL_REQUESTS, name),
            self._files.distribution(catalog.CALL_ITEMS, name),
            {tier: self._files.distribution(catalog.QUEUE, name, tier) for tier in TIERS},
        )
        return started

    def _create_answered(self, model: str, deployment: Deployment) -> _Answered:
        answered = self._answered[deployment] = _Answered(
            self._files.distribution(catalog.CALL_DURATION, model, deployment.provider_name, ""),
            self._files.number(catalog.BILLED_TOKENS, model, deployment.provider_name),
        )
        return answered

    def _number(self, metric: Metric, *labels: str) -> Number:
        key = (metric, *labels)
        found: Number | None = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = self._files.number(metric, *labels)
        return found

    def _distribution(self, metric: Metric, *labels: str) -> Distribution:
        key = (metric, *labels)
        found: Distribution | None = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = self._files.distribution(metric, *labels)
        return found


def result_of(status: int) -> Result:
    """Return the result that a status counts as, as `app.usage.store.queries.measures_of` does."""
    if status < 400:
        return "ok"
    if status in (401, 403, 429):
        return "refused"
    return "invalid" if status < 500 else "failed"
