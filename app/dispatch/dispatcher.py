"""The I/O of dispatch: threads that carry calls, and callers that wait for them.

Each call to a provider runs in a thread of its own (a greenlet under gevent), so that a caller can
leave at its deadline whatever the call does, and others can go on waiting for it.
"""

from __future__ import annotations

import _thread
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.config import Settings
from app.dispatch.budget import Budget
from app.dispatch.deployment import TEXT_ONLY, Deployment
from app.dispatch.events import Events, Tracer
from app.dispatch.gate import Batch, Gate, NotSent, Ticket
from app.dispatch.job import Job, Rules
from app.dispatch.pool import Pool
from app.domain import Call, EmbeddingRequest, Outcome, Vectors
from app.errors import (
    BadRequest,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    Rejected,
    forget,
)
from app.providers.base import Provider
from app.tokenizers import Tokenizer

_log = logging.getLogger("app.dispatch")
#: Extra calls for retries and for hedges, as shares of the calls asked for.
_RETRIES = 0.2
_HEDGES = 0.05
_SAVED_AT_START = 20.0
_SAVED_AT_MOST = 100.0


class Bell:
    """Wakes one waiting thread; a ring before the wait is not lost.

    A bare lock: an Event costs five times as much, and there is one wait per request.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # rung already
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Whether it rang within so many seconds."""
        return self._lock.acquire(timeout=min(max(0.0, seconds), 3600.0))


class Dispatcher:
    """Gets vectors for a model from whichever of its deployments can give them."""

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        rng: random.Random | None = None,
        tokenizers: Mapping[str, Tokenizer] | None = None,
        events: Events | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._rng = rng or random.Random()
        self._events = events or Events()
        self._tracer = tracer
        part = 1 / settings.workers
        gates = {
            name: Gate(max(1, int(settings.providers[name].concurrency * part)))
            for name in providers
        }
        self._pools = {
            name: Pool(
                name,
                [
                    Deployment(
                        model,
                        d,
                        settings.providers[d.provider],
                        providers[d.provider],
                        gates[d.provider],
                        self._rng,
                        part,
                        (tokenizers or {}).get(name),
                    )
                    for d in model.deployments
                ],
                self._rng,
            )
            for name, model in settings.models.items()
        }
        self._pool_of = {d: pool for pool in self._pools.values() for d in pool.deployments}
        self._hedged = {name for name, model in settings.models.items() if model.hedge}
        self._rules = Rules(
            Budget(_RETRIES, _SAVED_AT_START, _SAVED_AT_MOST),
            Budget(_HEDGES, 0.0, _SAVED_AT_MOST),
            settings.limits.waiting,
            self._events,
        )

    def start(self, request: EmbeddingRequest, deadline: float, bell: Bell) -> Job:
        """A job for a request; ``bell`` rings when it wants to advance. Raises `BadRequest`."""
        pool = self._pools[request.model]
        if not any(d.can_serve(request.dimensions) for d in pool.deployments):
            raise BadRequest(
                f"Invalid value for 'dimensions' = {request.dimensions}. "
                "This model cannot give vectors of that width.",
                param="dimensions",
            )
        if not any(d.understands(request.items) for d in pool.deployments):
            raise BadRequest(TEXT_ONLY, param="input")
        hedged = request.model in self._hedged
        if hedged:
            self._rules.hedges.earn()
        return Job(request, pool, deadline, self._rules, self._rng, self._carry, bell.ring, hedged)

    def embed(self, request: EmbeddingRequest, deadline: float) -> Outcome:
        """Vectors for the request's items, in order, by ``deadline``; or a `ClientError`."""
        bell = Bell()
        return drive(self.start(request, deadline, bell), bell)

    def unavailable_models(self) -> list[str]:
        """The models that no deployment can serve now."""
        now = time.monotonic()
        return [name for name, pool in self._pools.items() if not pool.can_serve(now)]

    def deployments(self) -> Iterator[tuple[str, Deployment]]:
        """Each (model, deployment) there is."""
        for name, pool in self._pools.items():
            for deployment in pool.deployments:
                yield name, deployment

    def report(self) -> list[dict[str, Any]]:
        """Each deployment's state, for people."""
        now = time.monotonic()
        return [
            {
                "model": name,
                "provider": d.name,
                "deployment": d.settings.model,
                "tier": d.settings.tier,
                "weight": d.settings.weight,
                "state": d.health.state(now),
                "retry_in_seconds": round(d.health.wait(now), 3),
                "in_flight": d.under_way,
                "outstanding": d.gate.outstanding(d),
                "latency_ms": None
                if d.latency.average is None
                else round(d.latency.average * 1000, 2),
                "ejections": d.health.ejections_ever,
                "last_error": d.health.last_error,
            }
            for name, d in self.deployments()
        ]

    def _carry(self, batch: Batch | None) -> None:
        while batch is not None:
            try:
                # Not threading.Thread, whose bookkeeping costs more than the start of a greenlet.
                _thread.start_new_thread(self._carry_on, (batch,))
                return
            except RuntimeError:
                _log.exception("no thread can be had to carry a call")
            gate = batch.deployment.gate
            gate.depart(batch)
            for ticket in batch.tickets:
                self._deliver(ticket, Overloaded("The proxy is overloaded.", retry_after=1))
            batch = gate.finish(batch)

    def _carry_on(self, batch: Batch | None) -> None:
        """Make a call, and then those that waited for its slot."""
        while batch is not None:
            gate = batch.deployment.gate
            gate.depart(batch)
            try:
                now = time.monotonic()
                batch.deployment.quota.take(1, 0, now)
                self._events.departed(batch.deployment, batch.tickets, now)
                self._call(batch.tickets, batch)
            except BaseException as error:  # a bug must not leave anyone waiting
                _log.exception("carrying a call failed")
                for ticket in batch.tickets:
                    if ticket.result is None:
                        self._deliver(ticket, error)
            batch = gate.finish(batch)

    def _call(self, tickets: Sequence[Ticket], batch: Batch) -> None:
        """Ask once for all tickets. A refusal is looked into by halves, to find whose it is."""
        deployment = batch.deployment
        pool = self._pool_of[deployment]
        first = tickets[0]
        call = first.call
        if len(tickets) > 1:
            call = call.of([item for ticket in tickets for item in ticket.call.items])
        left_at = time.monotonic()
        batch.leave(left_at)
        deployment.left(call, left_at)
        try:
            if self._tracer is None:
                vectors = deployment.embed(call, first.wanted, batch.deadline)
            else:
                vectors = self._traced(self._tracer, tickets, call, batch)
        except ProviderError as error:
            self._failed(tickets, batch, error, time.monotonic() - left_at)
            return
        finally:
            deployment.ended(call)
        now = time.monotonic()
        pool.succeeded(deployment, len(call.items), now - left_at, now)
        self._events.answered(pool.model, deployment, vectors, now - left_at)
        start = 0
        for ticket in tickets:
            stop = start + ticket.size
            self._deliver(ticket, vectors if len(tickets) == 1 else vectors.part(start, stop))
            start = stop

    def _traced(
        self, tracer: Tracer, tickets: Sequence[Ticket], call: Call, batch: Batch
    ) -> Vectors:
        deployment = batch.deployment
        callers = [ticket.call.trace for ticket in tickets]
        model = self._pool_of[deployment].model
        span, sent = tracer.leave(model, deployment, call, callers)
        result: Vectors | ProviderError = ProviderError("failed by a bug")
        try:
            result = deployment.embed(sent, tickets[0].wanted, batch.deadline)
        except ProviderError as error:
            result = error
            raise
        finally:
            tracer.arrive(span, result)
        return result

    def _failed(
        self, tickets: Sequence[Ticket], batch: Batch, error: ProviderError, seconds: float
    ) -> None:
        forget(error)  # what it passed: answers of megabytes
        deployment = batch.deployment
        if batch.deadline.cancelled:
            error = ProviderTimeout("was not waited for")
        items = sum(ticket.size for ticket in tickets)
        pool = self._pool_of[deployment]
        self._events.failed(pool.model, deployment, error, seconds)
        if pool.failed(deployment, error, time.monotonic(), items, seconds):
            self._events.ejected(pool.model, deployment)
            for waiting in deployment.gate.flush(deployment):
                self._deliver(waiting, NotSent("was ejected"))
        if isinstance(error, Rejected) and len(tickets) > 1:
            half = len(tickets) // 2
            self._call(tickets[:half], batch)
            self._call(tickets[half:], batch)
            return
        for ticket in tickets:
            self._deliver(ticket, error)

    @staticmethod
    def _deliver(ticket: Ticket, result: Vectors | BaseException) -> None:
        ticket.result = result
        if ticket.batch is not None:
            ticket.company, ticket.batch = len(ticket.batch.tickets), None
        if ticket.state == "away":
            ticket.state = "done"
        ticket.deliver(ticket)


def drive(job: Job, bell: Bell) -> Outcome:
    """Wait for a job as its caller. Raises the `ClientError` it ended with."""
    wake_at = job.advance(time.monotonic())
    while not job.finished:
        bell.wait(wake_at - time.monotonic())
        wake_at = job.advance(time.monotonic())
    return job.outcome()
