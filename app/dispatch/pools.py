"""The queues and pools that the settings describe, and their state for operators."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from app.config import ModelSettings, Settings
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.token_estimate import TokenEstimate
from app.dispatch.queue.adaptive import AdaptiveLimit
from app.dispatch.queue.leased_slots import HOST_JOIN_S, HOST_POLL_FACTOR, LeasedSlotQueue
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.quota import Quota
from app.dispatch.quotas.shares import calls_of_worker, leases_slots
from app.domain import TIERS, Tier
from app.providers.base import Provider
from app.tokens.tokenizers import Tokenizer


class Pools:
    """The queue of each provider, and the pool of each model.

    ``has_host_store``: the workers of this host share a store for slots, where there is no server.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        rng: random.Random,
        tokenizers: Mapping[str, Tokenizer],
        has_host_store: bool,
    ) -> None:
        self._settings = settings
        self._providers = providers
        self._rng = rng
        worker_share = 1 / settings.workers
        self._queues = {name: _make_queue(settings, name, has_host_store) for name in providers}
        self._pools = {
            name: self._make_pool(model, worker_share, tokenizers.get(name))
            for name, model in settings.models.items()
        }
        self._pool_of = {d: pool for pool in self._pools.values() for d in pool.deployments}

    def _make_pool(
        self, model: ModelSettings, worker_share: float, tokenizer: Tokenizer | None
    ) -> Pool:
        settings = self._settings
        estimate = TokenEstimate(tokenizer)
        deployments = [
            Deployment(
                model,
                d,
                settings.providers[d.provider],
                self._providers[d.provider],
                self._queues[d.provider],
                self._rng,
                worker_share=worker_share,
                tokenizer=estimate.tokenizer,
                dispatch=settings.dispatch,
                leases_quota=settings.limits.url is not None,
            )
            for d in model.deployments
        ]
        estimate.is_used = any(d.limits_tokens for d in deployments)
        return Pool(model.name, deployments, self._rng, settings.dispatch, estimate)

    def unavailable_models(self) -> list[str]:
        """Return the models of which all deployments are ejected."""
        now = time.monotonic()
        return [name for name, pool in self._pools.items() if not pool.can_serve(now)]

    def deployments(self) -> Iterator[tuple[str, Deployment]]:
        """Yield each model with each of its deployments."""
        for name, pool in self._pools.items():
            for deployment in pool.deployments:
                yield name, deployment

    def leased_quotas(self) -> dict[str, Deployment]:
        """Return the deployments whose quota is leased from a store, by a name of that quota."""
        found = dict[str, Deployment]()
        for model, deployment in self.deployments():
            if isinstance(deployment.quota, LeasedQuota):
                name = f"{model}/{deployment.label}"
                while name in found:
                    name += "+"
                found[name] = deployment
        return found

    def leased_queues(self) -> dict[str, LeasedSlotQueue]:
        """Return the queues whose slots are leased from a store, by the name of their provider."""
        queues = self._queues.items()
        return {name: queue for name, queue in queues if isinstance(queue, LeasedSlotQueue)}

    def deployments_that_may_cut(self) -> list[str]:
        """Return the deployments whose provider may cut a long text without an error."""
        return [
            f"{deployment.label} of {model}"
            for model, deployment in self.deployments()
            if deployment.long_text.may_be_cut and deployment.max_item_tokens is None
        ]

    def waiting_by_tier(self) -> dict[Tier, int]:
        """Return the number of attempts that wait in the queues of all providers."""
        queues = self._queues.values()
        return {tier: sum(queue.waiting_of(tier) for queue in queues) for tier in TIERS}

    def report(self) -> list[dict[str, Any]]:
        """Return the state of each deployment, for the operator's report."""
        now = time.monotonic()
        spaces = {name: model.space for name, model in self._settings.models.items()}
        return [_state_of(name, spaces[name], d, now) for name, d in self.deployments()]


def _make_queue(settings: Settings, provider: str, has_host_store: bool) -> SlotQueue:
    """Return the queue of a provider, with this worker's share of its slots, or a lease of them."""
    provider_settings = settings.providers[provider]
    workers, waiting = settings.workers, settings.limits.waiting
    limit = provider_settings.concurrency
    if isinstance(limit, int):
        if leases_slots(settings, provider, has_host_store):
            timeout = provider_settings.timeout
            if has_host_store:
                return LeasedSlotQueue(
                    limit, workers, timeout, waiting, HOST_POLL_FACTOR, HOST_JOIN_S
                )
            return LeasedSlotQueue(limit, workers, timeout, waiting)
        return SlotQueue(calls_of_worker(limit, workers), waiting)
    least, most = (calls_of_worker(bound, workers) for bound in (limit.least, limit.most))
    # By the time of day, not the time since boot: the workers of all hosts alternate together.
    adaptive = AdaptiveLimit(least, most, workers, clock_offset=time.time() - time.monotonic())
    return SlotQueue(adaptive.slots(time.monotonic()), waiting, adaptive)


def _state_of(model: str, space: str, d: Deployment, now: float) -> dict[str, Any]:
    """Return the state of a deployment as this worker sees it."""
    return {
        "model": model,
        "space": space,
        "provider": d.provider_name,
        "deployment": d.settings.model,
        "tier": d.settings.tier,
        "weight": d.settings.weight,
        "share": round(d.standing.share(now), 3),
        "state": d.standing.state(now),
        "retry_in_seconds": _finite(d.standing.wait_s(now)),
        "in_flight": d.standing.in_flight,
        "concurrency": d.queue.concurrency,
        "concurrency_is_auto": d.queue.adaptive is not None,
        "concurrency_is_leased": d.queue.is_leased,
        "quota": _quota(d.quota, now),
        "outstanding": d.queue.outstanding(d),
        "latency_ms": _ms(d.standing.latency.average),
        "ejections": d.breaker.ejections_ever,
        "last_error": d.breaker.last_error,
        "agreement": d.agreement and asdict(d.agreement),
    }


def _quota(quota: Quota, now: float) -> dict[str, Any] | None:
    """Return what this worker may use of a quota now; None where there is none."""
    if not quota.is_limited:
        return None
    calls, tokens = (
        int(left) if math.isfinite(left) else None for left in quota.calls_and_tokens_left(now)
    )
    return {"is_leased": quota.is_leased, "requests_left": calls, "tokens_left": tokens}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _finite(seconds: float) -> float | None:
    """Return rounded seconds; None for ever."""
    return round(seconds, 3) if math.isfinite(seconds) else None
