"""The entry of dispatch: makes a job for each request, and waits until it has its vectors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from app.concurrency.locks import Wakeup
from app.concurrency.peer import CLIENT_LOOK_S, never_left
from app.config import Settings
from app.dispatch.deployments.deployment import Agreement, Deployment
from app.dispatch.deployments.preparation import prepare
from app.dispatch.events import Events, GuardedEvents, GuardedTracer, Tracer
from app.dispatch.job.context import JobContext, JobDeadline, OnPart
from app.dispatch.job.job import Job
from app.dispatch.one_deployment import embed_on
from app.dispatch.pools import Pools
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending.background_calls import BackgroundCalls
from app.dispatch.sending.paused import PausedQueues
from app.dispatch.sending.sender import Sender
from app.domain import EmbeddingRequest, Outcome, Source, Vectors, sum_purchases
from app.errors import ClientClosedRequest, ClientError
from app.providers.base import Provider
from app.tokens.tokenizers import Tokenizer


class Dispatcher(Pools):
    """Gets the vectors of a request from the deployments of its model."""

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
        super().__init__(
            settings, providers, rng or random.Random(), tokenizers or {}, has_host_store
        )
        self._events = GuardedEvents(*events) if events else Events()
        self._hedged = {name for name, model in settings.models.items() if model.hedge}
        guarded = GuardedTracer(tracer) if tracer is not None else None
        self._sender = Sender(self._pool_of, self._events, guarded)
        self._paused = PausedQueues(self._sender.send)
        for queue in self._queues.values():
            queue.on_pause = self._paused.resume_at
        self.background_calls = BackgroundCalls(self._pool_of, self._sender)
        self.is_any_ejected_for_drift = False

    def make_job(
        self,
        request: EmbeddingRequest,
        deadline: float,
        wake: Callable[[], None],
        on_part: OnPart | None = None,
    ) -> Job:
        """Return a job for a request, which its callers must `advance`.

        Raises `BadRequest`; `DeadlineExceeded` where its texts are not counted in time, and
        `Overloaded` where no thread can be started for that.
        """
        pool = self._pools[request.model]
        hedged = request.model in self._hedged
        at = JobDeadline(deadline)
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

        The calls of a large request may take minutes. Where one of its deployments is ejected for
        drift meanwhile, an answer with the rows that it had embedded before would mix two vector
        spaces. They are embedded again within the deadline, free of charge to the retry budget, as
        a fail-over after drift is. The request pays for the rows that are dropped, too: they were
        bought for it.
        """
        outcome = self._embed_once(request, deadline, has_client_left)
        positions = self._drifted_rows(request, outcome) if self.is_any_ejected_for_drift else ()
        while positions:
            part = replace(request, items=[request.items[position] for position in positions])
            try:
                if has_client_left():  # before rows are bought a second time
                    raise ClientClosedRequest.before_answer()
                again = self._embed_once(part, deadline, has_client_left)
            except ClientError as error:
                error.attempts += outcome.attempts
                error.purchases = sum_purchases(outcome.purchases, error.purchases)
                raise
            outcome = _merged(outcome, positions, again)
            positions = self._drifted_rows(request, outcome)
            if len(set(map(len, outcome.vectors.rows))) > 1:  # rows of two widths: embed all again
                positions = range(len(request.items))
        return outcome

    def _embed_once(
        self, request: EmbeddingRequest, deadline: float, has_client_left: Callable[[], bool]
    ) -> Outcome:
        """Return the vectors of a request, some of which may have drifted meanwhile."""
        wakeup = Wakeup()
        job = self.make_job(request, deadline, wakeup.set)
        try:
            now = time.monotonic()
            check_client_at = now + CLIENT_LOOK_S
            wake_at = job.advance(now)
            while not job.finished:
                wakeup.wait(min(wake_at, check_client_at) - time.monotonic())
                now = time.monotonic()
                if now >= check_client_at:
                    check_client_at = now + CLIENT_LOOK_S
                    if has_client_left():
                        job.cancel(now, ClientClosedRequest.before_answer())
                if not job.finished:
                    wake_at = job.advance(now)
        except BaseException:  # the worker stops, or a bug
            job.cancel(time.monotonic())
            raise
        return job.outcome()

    def _drifted_rows(self, request: EmbeddingRequest, outcome: Outcome) -> Sequence[int]:
        """Return the positions of the rows whose deployment is ejected for drift now."""
        drifted = self.drifted_sources(request.model)
        if not drifted:
            return ()
        sources = _source_of_each(outcome)
        return [position for position, source in enumerate(sources) if source in drifted]

    def embed_on(
        self,
        deployment: Deployment,
        request: EmbeddingRequest,
        deadline: float,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Outcome:
        """Return the vectors that one deployment embeds, whatever its health: no fail-over.

        Raises `ClientError` by ``deadline``.
        """
        pool, calls = self._pool_of[deployment], self.background_calls
        return embed_on(pool, deployment, calls, request, deadline, has_client_left)

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
        standing = deployment.standing
        was_ejected = standing.is_ejected_for_drift
        is_ejected = ejects and agreement is not None and agreement.has_drifted
        deployment.agreement = agreement
        if is_ejected:  # first, so that no request misses the flag of the deployment
            self.is_any_ejected_for_drift = True
        standing.is_ejected_for_drift = is_ejected
        self.is_any_ejected_for_drift = any(
            d.standing.is_ejected_for_drift for _, d in self.deployments()
        )
        if is_ejected and not was_ejected:
            self._sender.report_ejection(self._pool_of[deployment], deployment, time.monotonic())

    def drifted_sources(self, model: str) -> list[Source]:
        """Return the deployments of a model that are ejected for drift."""
        if not self.is_any_ejected_for_drift:
            return []
        return [d.source for d in self._pools[model].deployments if d.standing.is_ejected_for_drift]

    def take_unpaid(self, request: EmbeddingRequest) -> Mapping[Source, int]:
        """Remove and return what a request pays for earlier ones: see `UnpaidTokens`."""
        return self._pools[request.model].unpaid.take(request.flow.key)

    def charge_later(self, request: EmbeddingRequest, source: Source, tokens: int) -> None:
        """Let the next request of the same key pay for tokens, as for those of `take_unpaid`."""
        self._pools[request.model].unpaid.add(request.flow.key, source, tokens)


def _source_of_each(outcome: Outcome) -> list[Source]:
    sources = list(outcome.sources)
    return sources * len(outcome.vectors.rows) if len(sources) == 1 else sources


def _merged(outcome: Outcome, positions: Sequence[int], again: Outcome) -> Outcome:
    """Return an outcome whose rows at ``positions`` are those of ``again``."""
    rows, tokens = list(outcome.vectors.rows), list(outcome.vectors.tokens)
    sources = _source_of_each(outcome)
    renewed = zip(
        positions, again.vectors.rows, again.vectors.tokens, _source_of_each(again), strict=True
    )
    for position, row, count, source in renewed:
        rows[position], tokens[position], sources[position] = row, count, source
    distinct = list(dict.fromkeys(sources))
    return replace(
        outcome,
        vectors=Vectors(rows, tokens, outcome.vectors.estimated or again.vectors.estimated),
        provider=",".join(dict.fromkeys(name for name, _ in distinct)),
        attempts=outcome.attempts + again.attempts,
        upstream_seconds=outcome.upstream_seconds + again.upstream_seconds,
        queue_seconds=outcome.queue_seconds + again.queue_seconds,
        sources=sources if len(distinct) > 1 else distinct,
        purchases=sum_purchases(outcome.purchases, again.purchases),
    )
