"""Makes the call of a batch, and passes its attempts their results."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.events import Events, Tracer
from app.dispatch.queue.adaptive import AdaptiveLimit
from app.dispatch.queue.attempts import Attempt, NotSent, Result
from app.dispatch.queue.batch import Batch
from app.dispatch.quotas.quota import MAX_WAIT_S
from app.domain import Call, Vectors
from app.errors import (
    Drifted,
    InternalError,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    Throttled,
    drop_tracebacks,
)

_log = logging.getLogger("app.dispatch")


def make_call(
    batch: Batch, pool: Pool, events: Events, tracer: Tracer | None
) -> tuple[Vectors | ProviderError, float, float]:
    """Call the provider for a batch; return the result, and when the call started and ended."""
    deployment, attempts = batch.deployment, batch.attempts
    standing = deployment.standing
    call_started_at = time.monotonic()
    timeout = standing.time_limits.timeout
    if batch.is_probe:
        timeout = standing.start_probe(batch.item_count, call_started_at)
    batch.deadline.set_timeout_at(call_started_at + timeout)
    earning = 0
    for attempt in attempts:
        if attempt.earns_retry and attempt.call_started_at is None:
            earning += 1
        attempt.call_started_at = call_started_at
    pool.retries.earn(earning)
    pool.hedges.earn(earning)
    events.call_started(deployment, attempts, call_started_at)
    if not attempts[0].is_background:  # its age is no sign that the deployment is silent
        standing.call_started(batch, batch.item_count, call_started_at)
    queue = deployment.queue
    free = queue.free
    in_flight = queue.slots - free
    call, cut_to = attempts[0].call, attempts[0].cut_to
    result: Vectors | ProviderError
    try:
        if len(attempts) > 1:
            call = call.with_items(batch.items, batch.counts)
        if tracer is None:
            result = deployment.embed(call, cut_to, batch.deadline)
        else:
            result = _embed_in_span(tracer, batch, call, pool.model)
        if batch.reservation is not None and not result.estimated:
            deployment.quota.settle(batch.reservation, sum(result.tokens))
        if standing.is_ejected_for_drift and not attempts[0].is_background:
            reason = "embeds in another vector space than its reference"
            result = Drifted(reason, result.tokens)
    except ProviderError as error:
        drop_tracebacks(error)  # its frames hold the answer, which may be megabytes
        result = error
    finally:
        standing.call_ended(batch)
        batch.deadline.close()
    now = time.monotonic()
    if queue.adaptive is not None and not attempts[0].is_background:
        try:
            _measure(queue.adaptive, batch, result, in_flight, free <= 0, call_started_at, now)
        except Exception:  # a bug, which must not lose the result
            _log.exception("learning the calls at once from a call failed")
    return result, call_started_at, now


def _measure(
    adaptive: AdaptiveLimit,
    batch: Batch,
    result: Vectors | ProviderError,
    in_flight: int,
    was_full: bool,
    call_started_at: float,
    now: float,
) -> None:
    """Record a call for the measured number of slots: see `AdaptiveLimit.record_success`."""
    label, size = batch.deployment.label, (batch.item_count, batch.tokens)
    if isinstance(result, Vectors):
        requests = len(batch.attempts)
        adaptive.record_success(label, size, requests, in_flight, was_full, call_started_at, now)
    elif isinstance(result, Throttled | ProviderTimeout) and not batch.deadline.cancelled:
        is_timeout = isinstance(result, ProviderTimeout)
        adaptive.record_failure(label, size, call_started_at, now, is_timeout)


def _embed_in_span(tracer: Tracer, batch: Batch, call: Call, model: str) -> Vectors:
    deployment, cut_to = batch.deployment, batch.attempts[0].cut_to
    callers = [attempt.call.trace for attempt in batch.attempts]
    span, sent = tracer.start_call_span(model, deployment, call, callers)
    result: Vectors | ProviderError = ProviderError("failed by a bug")
    try:
        result = deployment.embed(sent, cut_to, batch.deadline)
    except ProviderError as error:
        result = error
        raise
    finally:
        tracer.end_call_span(span, result)
    return result


def deliver(attempt: Attempt, result: Result, batch_size: int, now: float) -> bool:
    """Pass an attempt its result; return False where its job has abandoned it."""
    counted = None
    if attempt.on_served and isinstance(result, Vectors):
        for record_served in attempt.on_served:
            record_served()
        attempt.on_served = ()
    if attempt.charged and isinstance(result, Vectors) and not result.estimated:
        counted = sum(result.tokens)
    if not attempt.deployment.queue.finish_attempt(attempt, batch_size, counted):
        return False
    attempt.on_result(attempt, result, now)
    return True


def deliver_to_all(batch: Batch, result: Vectors | ProviderError, now: float) -> None:
    """Pass all attempts of a batch the result of its call, except those that have one already."""
    start, number = 0, len(batch.attempts)
    for attempt in batch.attempts:
        stop = start + attempt.size
        own = result.slice(start, stop) if isinstance(result, Vectors) and number > 1 else result
        deliver(attempt, own, number, now)
        start = stop


def says_when_to_call_again(error: ProviderError) -> bool:
    """Whether an error says that, or is a 429: it counts even if no request waits for the call."""
    return isinstance(error, Throttled) or error.retry_after is not None


def charge_dropped(batch: Batch, tokens: Sequence[int], pool: Pool) -> None:
    """Charge the keys of the requests of a batch for its vectors, which are dropped."""
    start = 0
    for attempt in batch.attempts:
        stop = start + attempt.size
        pool.unpaid.add(attempt.flow.key, batch.deployment.source, sum(tokens[start:stop]))
        start = stop


def pause_until_reset(deployment: Deployment, seconds: float, now: float) -> None:
    """Let no call of a deployment leave until its provider's limit resets.

    Before a long pause, its queued attempts go back to their jobs, which may have another one.
    """
    deployment.quota.pause_until_reset(seconds, now)
    if deployment.quota.exhausted_until > now + MAX_WAIT_S:
        for attempt in deployment.queue.flush(deployment):
            attempt.on_result(attempt, NotSent("has used up its provider's limit"), now)


def deliver_not_sent(batch: Batch) -> None:
    """Return the attempts of an unsent batch, which have left the queue, to their jobs."""
    for attempt in batch.attempts:
        attempt.on_result(attempt, NotSent("was not called"), time.monotonic())


def return_unsent(batch: Batch) -> Batch | None:
    """Return the attempts of an unsent batch to their jobs; return the batch to send next."""
    queue = batch.deployment.queue
    deliver_not_sent(batch)
    return queue.take_next(time.monotonic())


def fail_without_thread(batch: Batch) -> Batch | None:
    """Fail a batch for which no thread could be started; return the next batch, if any."""
    now, queue = time.monotonic(), batch.deployment.queue
    queue.close(batch)
    release(batch)
    for attempt in batch.attempts:
        deliver(attempt, Overloaded("The proxy is overloaded.", retry_after=1), 1, now)
    return queue.finish(batch, now)


def release(batch: Batch) -> None:
    """Release the quota and the probe of a call that is not made."""
    if batch.reservation is not None:
        batch.deployment.quota.release(batch.reservation)
    if batch.is_probe:
        batch.deployment.standing.probe_ended()
    for attempt in batch.attempts:
        batch.deployment.queue.end_if_abandoned(attempt)


def abort(batch: Batch) -> None:
    """Fail all attempts of a batch whose call was ended by a bug."""
    now = time.monotonic()
    batch.deployment.standing.probe_ended()
    for attempt in [*batch.attempts, *batch.refused_with]:
        try:
            deliver(attempt, InternalError("The proxy failed."), 1, now)
        except Exception:
            _log.exception("passing an attempt the failure of its call failed")
