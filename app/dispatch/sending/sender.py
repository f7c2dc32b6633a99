"""The threads that make calls (greenlets under gevent), and what follows from each result.

Each call has a thread of its own, so that a caller can leave at its deadline while the call goes on
for other callers. A thread whose call has ended sends the next batch that waits for the slot.
"""

from __future__ import annotations

import _thread
import logging
import time
from collections.abc import Callable, Mapping

from app.concurrency.threads import start_now
from app.dispatch.deployments.call_size import SizeRefusal
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.events import Events, Tracer
from app.dispatch.queue.adaptive import AdaptiveLimit
from app.dispatch.queue.attempts import NotSent
from app.dispatch.queue.batch import Batch
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending import bisection
from app.dispatch.sending.calls import (
    abort,
    charge_dropped,
    deliver,
    deliver_not_sent,
    deliver_to_all,
    fail_without_thread,
    make_call,
    pause_until_reset,
    release,
    return_unsent,
    says_when_to_call_again,
)
from app.domain import Vectors
from app.errors import Drifted, ProviderError, ProviderTimeout, Rejected, Throttled
from app.providers.rate_limits import stated_limits

_log = logging.getLogger("app.dispatch")


class Sender:
    """Makes the calls of batches, updates pool and quota, and passes each attempt its result."""

    def __init__(
        self,
        pool_of: Mapping[Deployment, Pool],
        events: Events,
        tracer: Tracer | None = None,
        start_thread: Callable[..., object] | None = None,
    ) -> None:
        self._pool_of = pool_of
        self._events = events
        self._tracer = tracer
        # Not threading.Thread, whose bookkeeping costs more than the start of a greenlet.
        self._start_thread = start_thread or _thread.start_new_thread
        self._start_now = start_thread or start_now

    def send(self, batch: Batch | None) -> None:
        """Start a thread that makes the call of a batch."""
        while batch is not None:
            if batch.is_unsent:
                batch = return_unsent(batch)
                continue
            try:
                start = self._start_now if batch.starts_early else self._start_thread
                start(self._run, (batch,))
                return
            except Exception:  # also a `MemoryError`, and those of greenlets
                _log.exception("no thread can be started for a call")
                if not batch.deployment.queue.record_lost_thread(batch):
                    return
                batch = fail_without_thread(batch)

    def report_ejection(self, pool: Pool, deployment: Deployment, now: float) -> None:
        """Report an ejection, and return the deployment's queued attempts to their jobs."""
        self._events.ejected(pool.model, deployment)
        self._flush(pool, deployment, now)

    def _flush(self, pool: Pool, deployment: Deployment, now: float) -> None:
        """Return a deployment's queued attempts to their jobs, unless it may still be called."""
        if not deployment.standing.may_be_called(now, last_resort=True, is_only=pool.is_alone):
            for attempt in deployment.queue.flush(deployment):
                attempt.on_result(attempt, NotSent("may not be called now"), now)

    # In its thread

    def _run(self, batch: Batch | None) -> None:
        """Make the call of a batch, then the calls of batches that wait for its slot.

        For each batch:

        1. The attempts of one that is unsent go back to their jobs; it has no slot.
        2. It is closed for additions. If no request waits for it any more, it gives back its quota.
        3. Else its call is made; after a 400 the tests of a bisection follow in the same slot.
        4. The slot is freed, which returns the next batch; then an unsent test goes back, too.
        """
        while batch is not None:
            if batch.is_unsent:
                batch = return_unsent(batch)
                continue
            queue = batch.deployment.queue
            if not queue.claim(batch):
                return
            to_call: Batch | None = batch if queue.close(batch) else None
            if to_call is None:  # every caller has left before the call
                release(batch)
            try:
                while to_call is not None and not to_call.is_unsent:
                    batch = to_call
                    to_call = self._call(batch)  # a test of a bisection
            except BaseException:  # a bug must leave no caller waiting, and no slot taken
                _log.exception("sending a call failed")
                to_call = None
                abort(batch)
            following = queue.finish(batch, time.monotonic())
            queue.room_waiters.wake(queue.room)
            if to_call is not None:
                deliver_not_sent(to_call)
            batch = following

    def _call(self, batch: Batch) -> Batch | None:
        """Make one call and deliver its result; return the next test of a bisection, if any."""
        pool = self._pool_of[batch.deployment]
        result, call_started_at, now = make_call(batch, pool, self._events, self._tracer)
        try:
            if batch.deployment.queue.adaptive is not None:
                self._set_slots(batch.deployment.queue, batch.deployment.queue.adaptive, now)
            if batch.attempts[0].is_background:
                self._handle_background_result(batch, result, now - call_started_at, now)
                return None
            if isinstance(result, Vectors):
                return self._handle_vectors(batch, result, call_started_at, now)
            return self._handle_failure(batch, result, call_started_at, now)
        except Exception:  # a bug, which must not lose the result: it may be paid for
            deliver_to_all(batch, result, now)
            raise

    def _set_slots(self, queue: SlotQueue, adaptive: AdaptiveLimit, now: float) -> None:
        """Set the slots of a queue to the measured number; send the batches that get a slot."""
        slots = adaptive.slots(now)
        if slots != queue.slots:
            batch = queue.set_slots(slots, now)
            while batch is not None:
                self.send(batch)
                batch = queue.take_next(now)

    def _handle_background_result(
        self, batch: Batch, result: Vectors | ProviderError, seconds: float, now: float
    ) -> None:
        """Deliver the result of a background call, which changes neither health nor latency.

        A check for drift, or an administrator, calls a deployment whatever its state: it must not
        be ejected for that, or be back.
        """
        deployment, (attempt,) = batch.deployment, batch.attempts
        model = self._pool_of[deployment].model
        if isinstance(result, Vectors):
            self._events.answered(model, deployment, result, seconds)
        else:
            self._events.failed(model, deployment, result, seconds)
        deliver(attempt, result, 1, now)

    def _handle_vectors(
        self, batch: Batch, vectors: Vectors, call_started_at: float, now: float
    ) -> Batch | None:
        deployment, attempts = batch.deployment, batch.attempts
        pool = self._pool_of[deployment]
        if pool.estimate.is_used and not vectors.estimated:
            pool.estimate.learn(batch.items, sum(vectors.tokens))
        if vectors.limit_resets_in is not None:
            pause_until_reset(deployment, vectors.limit_resets_in, now)
        if vectors.limit_headers is not None and deployment.quota.is_limited:
            deployment.quota.record_stated(stated_limits(vectors.limit_headers), now)
        silent = pool.ejector.record_success(batch, call_started_at, now)
        self._events.answered(pool.model, deployment, vectors, now - call_started_at)
        start = 0
        for attempt in attempts:
            stop = start + attempt.size
            rows = vectors if len(attempts) == 1 else vectors.slice(start, stop)
            if not deliver(attempt, rows, len(attempts), now):
                pool.unpaid.add(attempt.flow.key, deployment.source, sum(rows.tokens))
            start = stop
        for other in silent:
            self.report_ejection(pool, other, now)
        if not batch.refused_with:
            return None
        return self._next_test(batch, bisection.after_success(batch.refused_with), now)

    def _handle_failure(
        self, batch: Batch, error: ProviderError, call_started_at: float, now: float
    ) -> Batch | None:
        deployment, attempts = batch.deployment, batch.attempts
        pool, batch_size = self._pool_of[deployment], len(attempts)
        if isinstance(error, Drifted):
            charge_dropped(batch, error.tokens, pool)
        if batch.deadline.cancelled and not says_when_to_call_again(error):
            error = ProviderTimeout("was not waited for")
        self._events.failed(pool.model, deployment, error, now - call_started_at)
        if isinstance(error, Rejected):
            is_callers_fault = self._record_refusal(batch, error, call_started_at, now)
            if batch_size > 1 and is_callers_fault:
                step = bisection.after_refusal(attempts, batch.refused_with)
                return self._next_test(batch, step, now)
        deployment.queue.requeue(batch.refused_with)  # before a flush, which must return these too
        if isinstance(error, Drifted):
            deployment.standing.probe_ended()
        elif not isinstance(error, Rejected):
            is_ejected = pool.ejector.record_failure(
                deployment, error, batch.item_count, call_started_at, now, batch.is_probe
            )
            if is_ejected:
                self.report_ejection(pool, deployment, now)
        if isinstance(error, Throttled | Drifted) or error.retry_after is not None:
            self._flush(pool, deployment, now)
        deliver_to_all(batch, error, now)
        return None

    def _record_refusal(
        self, batch: Batch, error: Rejected, call_started_at: float, now: float
    ) -> bool:
        """Record a 400 to a batch; return whether it is taken as the fault of a caller."""
        deployment, attempts = batch.deployment, batch.attempts
        pool, is_merged = self._pool_of[deployment], len(attempts) > 1
        if is_merged and error.too_large and not batch.refused_with:
            SizeRefusal.watch(attempts, pool.estimate)
        # Of several items that are too large together, none is at fault.
        if not is_merged and not (error.too_large and batch.item_count > 1):
            deployment.remember_refused(attempts[0].call.items, now)
        return pool.ejector.record_refusal(batch, call_started_at, now)

    def _next_test(self, batch: Batch, step: bisection.Step, now: float) -> Batch | None:
        """Return the batch of a bisection's next test, which keeps the slot of its last call."""
        queue = batch.deployment.queue
        held = queue.hold(step.refused_with)
        test = queue.replace(batch, step.test, held, now)
        queue.requeue(step.requeue)
        if test is None:  # no request waits for it any more
            queue.requeue(held)
        while (other := queue.take_next(now)) is not None:  # a slot may be free
            self.send(other)
        return test
