"""The state machine of one request in dispatch. No I/O; the time is an argument.

A request is one *part* until the chosen deployment takes only smaller calls; then the part is split
into several, which run side by side. Each part is given to one deployment at a time (two, when
hedged or late) as an `Attempt`. When an attempt fails, `app.dispatch.retry` decides what follows,
until the part has its vectors, the request has failed, or its deadline passes::

    WAITING ──start──► RUNNING ──vectors──► ANSWERED
       ▲  │               │
       │  └──too large────┼──too large────► SPLIT, into smaller parts
       └──retry, fail over┘
    and every state ──the request ends──► STOPPED

Two kinds of threads call a job: callers that wait (`Job.advance`, after ``wake`` or at the time
that the last `advance` returned), and senders with a result (`Job.receive`). Both change the job
under its lock, and perform the `Effects` on other objects after they have released it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from app.concurrency.locks import uncontended_lock
from app.dispatch import retry
from app.dispatch.answer import Answer
from app.dispatch.attempt import Attempt, NotSent, Result
from app.dispatch.effects import Effects, OnPart, Sender
from app.dispatch.part import Part, PartState
from app.dispatch.parts import Parts
from app.dispatch.starter import JobContext, Starter
from app.dispatch.verdict import verdict
from app.domain import Outcome, Source, Vectors
from app.errors import (
    BrokenContract,
    ClientError,
    DeadlineExceeded,
    InternalError,
    ProviderError,
    Rejected,
)

_log = logging.getLogger("app.dispatch")
_NOT_SENT_PAUSE_S = 0.001  # after `NotSent`, before another deployment is chosen
_MIN_TIME_FOR_ATTEMPT_S = 0.01  # with less until the deadline, no further attempt is started


class Job:
    """Gets the vectors of one request, part by part, within its deadline.

    The lock guards all fields, and those of the parts. ``wake`` is called under no lock when a
    caller must call `advance`. ``on_part`` is called for each part that has its vectors, with
    (start, stop, vectors, deployment), before the job counts as `is_settled`.
    """

    def __init__(
        self,
        context: JobContext,
        sender: Sender,
        rng: random.Random,
        wake: Callable[[], None],
        on_part: OnPart | None = None,
    ) -> None:
        request, self._pool = context.request, context.pool
        self.deadline = context.deadline
        self.finished = False
        self.error: BaseException | None = None
        self.upstream_seconds = 0.0  # from the first attempt to the last vector
        self._context = context
        self._sender = sender
        self._rng = rng
        self._wake = wake
        self._on_part = on_part
        self._lock = uncontended_lock()
        self._effects = Effects()
        self._parts = Parts(context.prepared.tokens, self._effects)
        self._starter = Starter(context, self._parts, self.receive, self._effects)
        self._answer = Answer(len(request.items))
        self._unpublished = 0  # parts for which `on_part` has not returned yet
        self._wake_at = float("-inf")  # when a caller will call `advance` without a `wake`

    # For callers

    @property
    def is_settled(self) -> bool:
        """Whether the job has finished, and `on_part` has returned for every answered part."""
        return self.finished and not self._unpublished

    @property
    def attempts(self) -> int:
        """Calls made for this request, also those shared with other requests."""
        return self._starter.attempts

    def extend(self, deadline: float) -> None:
        """Move the deadline to ``deadline`` if that is later: another caller waits for the job."""
        with self._lock:
            self.deadline.extend(deadline)

    def advance(self, now: float) -> float:
        """Start what is due, and end the job at its deadline; return when to call this again."""
        with self._lock:
            was_finished = self.finished
            if not self.finished and now >= self.deadline.at:
                self._finish(self._deadline_exceeded())
            if not self.finished:
                self._starter.handle_slow_calls(now)
            self._wake_at = wake_at = self._start_due(now)
            effects = self._effects.take()
        self._perform(effects, now)
        if self.finished and not was_finished:
            self._wake()  # for the other callers of this job
        return wake_at

    def cancel(self, now: float) -> None:
        """End the job: no caller waits for it any more."""
        with self._lock:
            if not self.finished:
                self._finish(self._deadline_exceeded())
            effects = self._effects.take()
        self._perform(effects, now)

    def outcome(self) -> Outcome:
        """Return the vectors, or raise the error that ended the job, with its purchases set."""
        with self._lock:
            if self.error is None:
                return self._answer.outcome(self.attempts, self.upstream_seconds)
            if isinstance(self.error, ClientError):
                self.error.attempts = self.attempts
                self.error.purchases = dict(self._answer.purchases)
        raise self.error

    # For senders

    def receive(self, attempt: Attempt, result: Result, now: float) -> None:
        """Take the result of an attempt."""
        with self._lock:
            part = self._parts.take_result(attempt)
            if part is None or self.finished:  # the slower call of a hedge, or after the end
                if attempt.is_probe and isinstance(result, NotSent):
                    attempt.deployment.standing.probe_ended()
                return
            try:
                self._take_result(part, attempt, result, now)
                wake_at = self._start_due(now)
            except Exception as error:  # a bug, which must not leave the caller waiting
                _log.exception("a request failed by a bug")
                self._end_by_bug(error)
                wake_at = now
            must_wake = wake_at < self._wake_at
            effects = self._effects.take()
        try:
            self._perform(effects, now)
        finally:
            if must_wake or self.is_settled:
                self._wake()

    def _take_result(self, part: Part, attempt: Attempt, result: Result, now: float) -> None:
        if isinstance(result, Vectors):
            self._accept(part, attempt, result, now)
        elif isinstance(result, ProviderError):
            self._after_failure(part, attempt, result, now)
        else:
            self._end_part(part, result)

    def _accept(self, part: Part, attempt: Attempt, vectors: Vectors, now: float) -> None:
        """Put the vectors of a part into the answer."""
        if not self._answer.fits(vectors):
            error = BrokenContract("answered vectors of another width than other deployments")
            self._after_failure(part, attempt, error, now)
            return
        source = attempt.deployment.source
        self._answer.put(part.start, part.stop, vectors, source)
        self._parts.transition(part, PartState.ANSWERED)
        part.refused_by.pop(attempt.deployment, None)
        self._effects.refuted += part.refused_by.values()
        if self._on_part is not None:
            self._unpublished += 1
            self._effects.answered.append((part, vectors, source))
        if self._answer.is_complete:
            self.upstream_seconds = now - (self._starter.first_at or now)
            self._finish()

    def _after_failure(
        self, part: Part, attempt: Attempt, error: ProviderError, now: float
    ) -> None:
        """Record the failure of an attempt, and do what `app.dispatch.retry` decides."""
        deployment = attempt.deployment
        if isinstance(error, NotSent):
            self._starter.attempts -= 1
            if attempt.is_probe:
                deployment.standing.probe_ended()
        else:
            part.failures.append(error)
            part.failed_at[deployment] = error
            if isinstance(error, Rejected):
                part.refused_by[deployment] = attempt
                if part.is_refusal_shared:
                    for refusing in part.refused_by:
                        refusing.standing.refusal_confirmed()
        if part.attempts:  # another attempt of it may still succeed
            if part.is_late:
                part.late_at = now + self._pause(part)
        elif now > self.deadline.at - _MIN_TIME_FOR_ATTEMPT_S:  # too late for another attempt
            self._end_part(part, self._deadline_exceeded())
        else:
            options = retry.options(part, attempt, self._pool, self._context.suitable, now)
            decision = retry.decide(part, attempt, error, self._pool, options)
            self._follow(part, attempt, error, decision, now)

    def _follow(
        self,
        part: Part,
        attempt: Attempt,
        error: ProviderError,
        decision: retry.Decision,
        now: float,
    ) -> None:
        """Carry out a decision about a part whose attempt has failed."""
        match decision:
            case retry.Fail(client_error):
                self._end_part(part, client_error or self._verdict(part, now))
            case retry.Halve():
                half = part.size // 2
                part.failures.remove(error)  # the halves may be well: only the size was refused
                del part.failed_at[attempt.deployment]
                self._parts.split(part, [(0, half), (half, part.size)])
            case retry.Wait():
                part.retry_not_charged = True
                self._parts.transition(part, PartState.WAITING)
            case retry.FailOver(cost) | retry.Retry(cost=cost):
                # Another request may have spent the budget since the decision.
                if cost and not self._pool.retries.spend(cost):
                    self._end_part(part, self._verdict(part, now))
                    return
                # Without a pause, an attempt that no queue accepts would be submitted in a loop.
                part.due = now + (_NOT_SENT_PAUSE_S if isinstance(error, NotSent) else 0.0)
                if isinstance(decision, retry.Retry):
                    part.never_merge |= decision.never_merge
                    part.due += self._pause(part) if cost else 0.0
                if not isinstance(error, NotSent):
                    self._context.events.retried(self._pool.model, attempt.deployment, error)
                self._parts.transition(part, PartState.WAITING)

    def _pause(self, part: Part) -> float:
        max_pause_s = retry.max_pause(len(part.failures), self._pool.settings)
        return self._rng.uniform(0, max_pause_s)

    # Under the lock

    def _start_due(self, now: float) -> float:
        """Start the parts that are due; return when `advance` must be called again."""
        if not self.finished:
            given_up = self._starter.start_due(now, self._answer.has_vectors)
            if given_up is not None:
                self._end_part(given_up, self._verdict(given_up, now))
        if self.finished:
            return float("inf")
        return min(self.deadline.at, self._starter.next_time())

    def _end_part(self, part: Part, error: BaseException) -> None:
        """End the request with the error of one of its parts."""
        self._parts.transition(part, PartState.STOPPED)
        self._finish(error)

    def _finish(self, error: BaseException | None = None) -> None:
        """End the request with ``error``; None: with its vectors."""
        assert error is not None or self._answer.is_complete
        self.finished, self.error = True, error
        self._parts.stop_all()
        self._starter.close()

    def _end_by_bug(self, error: Exception) -> None:
        """End the request after a bug, when the states of its parts may be inconsistent."""
        self.finished, self.error = True, InternalError("The proxy failed.")
        self.error.__cause__ = error
        self._parts.abandon_all()
        self._starter.close()

    def _verdict(self, part: Part, now: float) -> ClientError:
        suitable = self._context.suitable
        return verdict(self._pool, suitable, part.failures, part.expected, now)

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"Request timed out after {self._context.request.timeout} s.")

    # Under no lock

    def _perform(self, effects: Effects | None, now: float) -> None:
        """Perform effects on other objects: publish, cancel, send, eject."""
        if effects is None:
            return
        for part, vectors, source in effects.answered:
            self._publish(part, vectors, source)
        for batch in effects.cancel:
            batch.deadline.cancel()
        for batch in effects.send:
            self._sender.send(batch)
        for attempt in effects.refuted:
            if self._pool.refuted(attempt, now):
                self._sender.ejected(self._pool, attempt.deployment, now)

    def _publish(self, part: Part, vectors: Vectors, source: Source) -> None:
        """Call `on_part` for a part; an exception of it ends the request."""
        error: BaseException | None = None
        try:
            assert self._on_part is not None
            self._on_part(part.start, part.stop, vectors, source)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._unpublished -= 1
            if error is None:
                return
            if self.finished:
                self.error = self.error or error
            else:
                self._finish(error)
            effects = self._effects.take()
        for batch in effects.cancel if effects is not None else ():
            batch.deadline.cancel()
