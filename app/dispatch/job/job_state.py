"""The state machine of one request in dispatch. No I/O, no lock; the time is an argument.

A request is one *part* until the chosen deployment takes only smaller calls; then the part is split
into several, which run side by side. Each part is given to one deployment at a time (two, when
hedged or late) as an `Attempt`. When an attempt fails, `app.dispatch.job.retry` decides what
follows, until the part has its vectors, the request has failed, or its deadline passes::

    WAITING ──start──► RUNNING ──vectors──► ANSWERED
       ▲  │               │
       │  └──too large────┼──too large────► SPLIT, into smaller parts
       └──retry, fail over┘
    and WAITING or RUNNING ──the request ends, or no request waits for its items──► STOPPED
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from app.dispatch.job import retry
from app.dispatch.job.answer import Answer
from app.dispatch.job.caller_errors import error_of_failures
from app.dispatch.job.context import Effects, JobContext, with_size
from app.dispatch.job.part import NEVER, Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.job.retry import NextStep
from app.dispatch.job.starter import Starter
from app.dispatch.queue.attempts import Attempt, NotSent, Result
from app.domain import Outcome, Vectors
from app.errors import (
    BadRequest,
    BrokenContract,
    ClientError,
    DeadlineExceeded,
    InternalError,
    ProviderError,
    Rejected,
)

_MIN_TIME_FOR_ATTEMPT_S = 0.01  # with less until the deadline, nothing is tried again: 504


class JobState:
    """The parts of one request, its answer, and what follows from the results of its attempts.

    `app.dispatch.job.job.Job` owns it, and holds its own lock during every call. ``effects``
    are what the job does after it has released the lock. With ``parts_are_published`` each part
    that has its vectors is among them, and the job calls `record_published` for it.
    """

    def __init__(
        self,
        context: JobContext,
        rng: random.Random,
        on_result: Callable[[Attempt, Result, float], None],
        on_room: Callable[[], None],
        parts_are_published: bool,
    ) -> None:
        request, self._pool = context.request, context.pool
        self.finished = False
        self.error: BaseException | None = None
        self.has_room = False  # in a queue that was full, since the last `advance`
        self.unpublished = 0  # parts in ``effects``, until `record_published`
        self.effects = Effects()
        self._context, self._rng = context, rng
        self._parts_are_published = parts_are_published
        flow = with_size(request.flow, len(request.items))
        self._parts = Parts(context.prepared.tokens, self.effects, flow)
        self.times = self._parts.times
        self.times.records = request.calls
        self.start_first = self._parts.start_first
        self._starter = Starter(context, self._parts, on_result, on_room, self.effects)
        self.hasten = self._starter.hasten
        self._answer = Answer(len(request.items))

    @property
    def calls(self) -> int:
        """The number of calls that have ended or are in flight."""
        return self._parts.calls

    # For callers

    def advance(self, now: float) -> float:
        """Start what is due, and end the request at its deadline; return when to call it again."""
        if now >= self._context.deadline.at and not self.finished:
            self._finish(self._deadline_exceeded())
        if self.has_room:
            self.has_room = False
            self._starter.retry_full_queues(now)
        if self._parts.running:
            self._starter.repeat_lost_pauses(now)
            self._starter.handle_slow_calls(now)
        return self._start_due(now)

    def cancel(self, error: ClientError | None = None) -> None:
        """End the request, if it has not ended, with ``error``: no caller waits for it.

        ``error`` None: with a `DeadlineExceeded`, which is not passed on, as no caller is left.
        """
        if not self.finished:
            self._finish(error or self._deadline_exceeded())

    def keep_only(self, positions: Sequence[int]) -> Sequence[tuple[int, int]]:
        """Stop the parts with none of these items: see `Parts.keep_only`."""
        try:
            stopped = self._parts.keep_only(positions)
        except Exception as error:  # a bug, which must not leave its other callers waiting
            self.end_by_bug(error)
            return ()
        for start, stop in stopped:
            self._answer.give_up(start, stop)
        if stopped and self._answer.is_complete:
            self._finish()
        return stopped

    def outcome(self) -> Outcome:
        """Return the vectors, or raise the error that ended the request, with its purchases set."""
        if self.error is None:
            return self._answer.outcome(self.times)
        if isinstance(self.error, ClientError):
            self.error.attempts = self.times.calls
            self.error.purchases = dict(self._answer.purchases)
        raise self.error

    def record_published(self, error: BaseException | None) -> None:
        """Record that a part was published; an error ends the request."""
        self.unpublished -= 1
        if error is not None:
            if self.finished:
                self.error = self.error or error
            else:
                self._finish(error)

    # After an attempt

    def receive(self, attempt: Attempt, result: Result, now: float) -> float | None:
        """Do what follows from a result: accept vectors, try again, or end the request.

        Returns when `advance` must be called again; None where the result is not awaited any more.
        """
        if attempt.is_probe and isinstance(result, NotSent):
            attempt.deployment.standing.probe_ended()
        if isinstance(result, Vectors):
            self._pool.refused_kinds.record_embedded(self._context.kind)
        part = self._parts.take_result(attempt)
        if part is None or self.finished:  # the slower call of a hedge, or after the end
            if isinstance(result, Vectors):
                self._charge_next_request(attempt, result)
            return None
        self.times.add([attempt, *part.attempts], now)
        if self.times.records is not None:
            self.times.record(part, attempt, result, now)
        try:
            if isinstance(result, Vectors):
                self._accept(part, attempt, result, now)
            else:
                self._after_failure(part, attempt, result, now)
            return self._start_due(now)
        except Exception as error:  # a bug, which must not leave the caller waiting
            self.end_by_bug(error)
            return now

    def _start_due(self, now: float) -> float:
        """Start the parts that are due; return when `advance` must be called again."""
        if not self.finished:
            given_up = self._starter.start_due(now, self._answer.has_vectors)
            if given_up is not None:
                self._end_part(given_up, self._error_of_failures(given_up, now))
        if self.finished:
            return NEVER
        return min(self._context.deadline.at, self._starter.next_time())

    def _accept(self, part: Part, attempt: Attempt, vectors: Vectors, now: float) -> None:
        """Put the vectors of a part into the answer."""
        if not self._answer.fits(vectors):
            error = BrokenContract("answered vectors of another width than other deployments")
            self._charge_next_request(attempt, vectors)
            self._after_failure(part, attempt, error, now)
            return
        source = attempt.deployment.source
        self._answer.put(part.start, part.stop, vectors, source)
        self._parts.transition(part, PartState.ANSWERED)
        part.forget_too_large_refusals()  # which are right, though another takes larger calls
        part.refused_attempts.pop(attempt.deployment, None)
        self.effects.refuted += part.refused_attempts.values()
        if self._parts_are_published:
            self.unpublished += 1
            self.effects.answered.append((part, vectors, source))
        if self._answer.is_complete:
            self._finish()

    def _charge_next_request(self, attempt: Attempt, vectors: Vectors) -> None:
        """Charge vectors that this request does not use to the next request of its key."""
        self._pool.unpaid.add(attempt.flow.key, attempt.deployment.source, sum(vectors.tokens))

    def _after_failure(
        self, part: Part, attempt: Attempt, error: ProviderError | ClientError, now: float
    ) -> None:
        """Record a failure, and do what `retry` decides; a `ClientError` ends the request."""
        if isinstance(error, ProviderError) and not isinstance(error, NotSent):
            part.add_failure(attempt, error, now)
            if isinstance(error, Rejected) and attempt.batch_size == 1:
                shared, kind = part.is_refusal_shared, self._context.kind
                self._pool.refused_kinds.record_refusal(kind, shared, now)
        step = NextStep(self._context, self._parts, self._rng)
        if part.attempts:  # another attempt of it may still succeed
            if part.has_call_beside:
                part.late_at = now + step.pause(part)
            return
        # An attempt without a call leaves it to the failure of the other one, if there was one.
        attempt, error = part.too_large_refusal or part.undecided or (attempt, error)
        if isinstance(error, ClientError):
            self._end_part(part, error)
            return
        decision = step.decide(part, attempt, error, now)
        is_400 = isinstance(decision, retry.Fail) and isinstance(decision.error, BadRequest)
        if now > self._context.deadline.at - _MIN_TIME_FOR_ATTEMPT_S and not is_400:
            decision = retry.Fail(self._deadline_exceeded())
        end = step.carry_out(part, attempt, error, decision, now)
        if end is not None:
            self._end_part(part, end.error or self._error_of_failures(part, now))

    # The end

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

    def end_by_bug(self, error: Exception) -> None:
        """End the request after a bug, when the states of its parts may be inconsistent."""
        self.effects.bug = error
        self.finished, self.error = True, InternalError("The proxy failed.")
        self.error.__cause__ = error
        self._parts.abandon_all()
        self._starter.close()

    def _error_of_failures(self, part: Part, now: float) -> ClientError:
        found = part.failures, part.is_refused_alone(now), part.expected, now
        return error_of_failures(self._pool, self._context.suitable, *found)

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded.after(self._context.request.timeout)
