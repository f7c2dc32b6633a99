"""Passes the attempts of a batch their results, and releases what an unsent batch has taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from app.dispatch.deployments.pool import Pool
from app.dispatch.queue.attempt import Attempt, NotSent, Result
from app.dispatch.queue.batch import Batch
from app.domain import Vectors
from app.errors import InternalError, Overloaded

_log = logging.getLogger("app.dispatch")


def deliver(attempt: Attempt, result: Result, batch_size: int, now: float) -> bool:
    """Pass an attempt its result; return False where its job has abandoned it."""
    counted = None
    if attempt.on_served is not None and isinstance(result, Vectors):
        attempt.on_served()
        attempt.on_served = None
    if attempt.charged and isinstance(result, Vectors) and not result.estimated:
        counted = sum(result.tokens)
    if not attempt.deployment.queue.finish_attempt(attempt, batch_size, counted):
        return False
    attempt.on_result(attempt, result, now)
    return True


def charge_dropped(batch: Batch, tokens: Sequence[int], pool: Pool) -> None:
    """Let the requests of a batch pay for its vectors, which are dropped: by their keys."""
    start = 0
    for attempt in batch.attempts:
        stop = start + attempt.size
        pool.unpaid.add(attempt.flow.key, batch.deployment.source, sum(tokens[start:stop]))
        start = stop


def deliver_not_sent(batch: Batch) -> None:
    """Return attempts without quota, which have left the queue, to their jobs."""
    for attempt in batch.attempts:
        attempt.on_result(attempt, NotSent("has no quota left"), time.monotonic())


def return_unsent(batch: Batch) -> Batch | None:
    """Return attempts without quota to their jobs; return the batch to send next, if any."""
    queue = batch.deployment.queue
    deliver_not_sent(batch)
    return queue.next(time.monotonic())


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
        batch.deployment.queue.discard(attempt)


def abort(batch: Batch) -> None:
    """Fail all attempts of a batch whose call was ended by a bug."""
    now = time.monotonic()
    batch.deployment.standing.probe_ended()
    for attempt in [*batch.attempts, *batch.refused_with]:
        try:
            deliver(attempt, InternalError("The proxy failed."), 1, now)
        except Exception:
            _log.exception("passing an attempt the failure of its call failed")
