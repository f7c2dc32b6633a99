"""The entry of dispatch: makes the pools from the settings, and a job for each request."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from app.concurrency.deadline import Deadline
from app.concurrency.peer import CLIENT_LOOK_S, never_left
from app.concurrency.wakeup import Wakeup
from app.config import ModelSettings, Settings
from app.dispatch.deployments.deployment import Agreement, Deployment
from app.dispatch.deployments.plan import TokenEstimate
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.preparation import prepare
from app.dispatch.events import Events, GuardedEvents, GuardedTracer, Tracer
from app.dispatch.job.context import JobContext, OnPart
from app.dispatch.job.job import Job
from app.dispatch.one_deployment import embed_on
from app.dispatch.queue.adaptive import AdaptiveLimit
from app.dispatch.queue.leased_slots import HOST_JOIN_S, HOST_POLL_FACTOR, LeasedSlotQueue
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.shares import calls_of_worker, leases_slots
from app.dispatch.report import state_of
from app.dispatch.sending.background_calls import BackgroundCalls
from app.dispatch.sending.paused import PausedQueues
from app.dispatch.sending.sender import Sender
from app.domain import TIERS, EmbeddingRequest, Outcome, Source, Tier
from app.errors import ClientClosedRequest
from app.providers.base import Provider
from app.tokens.tokenizers import Tokenizer


class Dispatcher:
    """Gets the vectors of a request from the deployments of its model.

    ``has_host_store``: the workers of this host share a store for slots, where there is no server.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        rng: random.Random | None = None,
        tokenizers: Mapping[str, Tokenizer] | None = None,
        events: Sequence[Events] = (),
        tracer: Tracer | None = None,
        has_host_store: bool = False,
    ) -> None:
        self._settings = settings
        self._providers = providers
        self._rng = rng or random.Random()
        self._events = GuardedEvents(*events) if events else Events()
        share = 1 / settings.workers
        self._queues = {name: _make_queue(settings, name, has_host_store) for name in providers}
        self._pools = {
            name: self._make_pool(model, share, (tokenizers or {}).get(name))
            for name, model in settings.models.items()
        }
        self._hedged = {name for name, model in settings.models.items() if model.hedge}
        pool_of = {d: pool for pool in self._pools.values() for d in pool.deployments}
        guarded = GuardedTracer(tracer) if tracer is not None else None
        self._pool_of = pool_of
        self._sender = Sender(pool_of, self._events, guarded)
        self._paused = PausedQueues(self._sender.send)
        for queue in self._queues.values():
            queue.on_pause = self._paused.resume_at
        self.background_calls = BackgroundCalls(pool_of, self._sender)
        self.has_drifted = False  # a deployment is ejected for drift

    def start(
        self,
        request: EmbeddingRequest,
        deadline: float,
        wake: Callable[[], None],
        on_part: OnPart | None = None,
    ) -> Job:
        """Return a job for a request, which its callers must `advance`.

        Raises `BadRequest`, and `DeadlineExceeded` where its texts are not counted in time.
        """
        pool = self._pools[request.model]
        hedged = request.model in self._hedged
        at = Deadline(deadline)
        prepared = prepare(pool, request, at)
        context = JobContext(request, pool, prepared, at, self._events, hedged)
        return Job(context, self._sender, self._rng, wake, on_part)

    def embed(
        self,
        request: EmbeddingRequest,
        deadline: float,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Outcome:
        """Return the vectors of a request's items, in order. Raises `ClientError` by ``deadline``.

        ``has_client_left`` is called once a second. Where it is true, the request ends: its queued
        attempts are withdrawn, and calls are cancelled that no other request shares.
        """
        wakeup = Wakeup()
        job = self.start(request, deadline, wakeup.set)
        try:
            now = time.monotonic()
            look_at = now + CLIENT_LOOK_S
            wake_at = job.advance(now)
            while not job.finished:
                wakeup.wait(min(wake_at, look_at) - time.monotonic())
                now = time.monotonic()
                if now >= look_at:
                    look_at = now + CLIENT_LOOK_S
                    if has_client_left():
                        job.cancel(now, ClientClosedRequest.before_answer())
                if not job.finished:
                    wake_at = job.advance(now)
        except BaseException:  # the worker stops, or a bug
            job.cancel(time.monotonic())
            raise
        return job.outcome()

    def embed_on(
        self,
        deployment: Deployment,
        request: EmbeddingRequest,
        deadline: float,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Outcome:
        """Vectors that this deployment has embedded, whatever its health; or a `ClientError`."""
        pool, calls = self._pool_of[deployment], self.background_calls
        return embed_on(pool, deployment, calls, request, deadline, has_client_left)

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

    def resume(self, queue: SlotQueue) -> None:
        """Send the attempts that wait in a queue, if their quotas have room now."""
        if queue.waiting:
            self._paused.resume_at(queue, time.monotonic())

    def set_agreement(
        self, deployment: Deployment, agreement: Agreement | None, ejects: bool
    ) -> None:
        """Record how well a deployment agrees with the reference of its space; None: not known.

        ``ejects``: one that has drifted is not called until another agreement is recorded.
        """
        standing, was_ejected = deployment.standing, deployment.standing.is_ejected_for_drift
        deployment.agreement = agreement
        has_drifted = agreement is not None and agreement.has_drifted
        self.has_drifted |= ejects and has_drifted  # before a request looks at the deployment
        standing.is_ejected_for_drift = ejects and has_drifted
        self.has_drifted = any(d.standing.is_ejected_for_drift for _, d in self.deployments())
        if standing.is_ejected_for_drift and not was_ejected:
            self._sender.report_ejection(self._pool_of[deployment], deployment, time.monotonic())

    def drifted_sources(self, model: str) -> list[Source]:
        """Return the deployments of a model that are ejected for drift."""
        if not self.has_drifted:
            return []
        return [d.source for d in self._pools[model].deployments if d.standing.is_ejected_for_drift]

    def take_unpaid(self, request: EmbeddingRequest) -> Mapping[Source, int]:
        """Remove and return what a request pays for earlier ones: see `UnpaidTokens`."""
        return self._pools[request.model].unpaid.take(request.flow.key)

    def charge_later(self, request: EmbeddingRequest, source: Source, tokens: int) -> None:
        """Let the next request of the same key pay for tokens, as for those of `take_unpaid`."""
        self._pools[request.model].unpaid.add(request.flow.key, source, tokens)

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
        return [state_of(name, spaces[name], d, now) for name, d in self.deployments()]

    def _make_pool(self, model: ModelSettings, share: float, tokenizer: Tokenizer | None) -> Pool:
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
                share,
                estimate.tokenizer,
                settings.dispatch,
                settings.limits.url is not None,
            )
            for d in model.deployments
        ]
        estimate.is_used = any(d.limits_tokens for d in deployments)
        return Pool(model.name, deployments, self._rng, settings.dispatch, estimate)


def _make_queue(settings: Settings, provider: str, has_host_store: bool) -> SlotQueue:
    """Return the queue of a provider, with this worker's share of its slots, or a lease of them."""
    provider_settings = settings.providers[provider]
    workers, waiting = settings.workers, settings.limits.waiting
    limit = provider_settings.concurrency
    if isinstance(limit, int):
        if leases_slots(settings, provider, has_host_store):
            polling = (HOST_POLL_FACTOR, HOST_JOIN_S) if has_host_store else ()
            return LeasedSlotQueue(limit, workers, provider_settings.timeout, waiting, *polling)
        return SlotQueue(calls_of_worker(limit, workers), waiting)
    least, most = (calls_of_worker(bound, workers) for bound in (limit.least, limit.most))
    # By the time of day, not the time since boot: the workers of all hosts alternate together.
    adaptive = AdaptiveLimit(least, most, workers, clock_offset=time.time() - time.monotonic())
    return SlotQueue(adaptive.slots(time.monotonic()), waiting, adaptive)
