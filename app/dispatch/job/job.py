"""One request in dispatch, for the threads that call it. No I/O; the time is an argument.

`app.dispatch.job.job_state` decides what follows from each result. This file has the lock around
it. Two kinds of threads call a job: callers that wait (`Job.advance`, after ``wake`` or at the time
that the last `advance` returned), and senders with a result (`Job.receive`). Both change the state
under the lock, and perform the `Effects` on other objects after they have released it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from app.concurrency.locks import uncontended_lock
from app.dispatch.job.context import Effects, JobContext, OnPart
from app.dispatch.job.job_state import JobState
from app.dispatch.job.part import NEVER, Part
from app.dispatch.queue.attempts import Attempt, NotSent, Result
from app.dispatch.sending.sender import Sender
from app.domain import Flow, Outcome, Source, Vectors
from app.errors import ClientError

_log = logging.getLogger("app.dispatch")


class Job:
    """Gets the vectors of one request, part by part, within its deadline.

    The lock guards the `JobState` and the deadline. ``wake`` is called under no lock when a caller
    must call `advance`. ``on_part`` is called for each part that has its vectors, with
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
        self.deadline = context.deadline
        self._pool = context.pool
        self._sender = sender
        self._wake = wake
        self._on_part = on_part
        self._lock = uncontended_lock()
        self._wake_at = float("-inf")  # when a caller will call `advance` without a `wake`
        self._state = JobState(context, rng, self.receive, self.on_room, on_part is not None)

    # For callers

    @property
    def finished(self) -> bool:
        """Whether the request has its vectors or an error."""
        return self._state.finished

    @property
    def is_settled(self) -> bool:
        """Whether the job has finished, and `on_part` has returned for every answered part."""
        return self._state.finished and not self._state.unpublished

    @property
    def error(self) -> BaseException | None:
        """The error that ended the job, if one did."""
        return self._state.error

    @property
    def attempts(self) -> int:
        """Calls made for this request, also those shared with other requests."""
        with self._lock:
            return self._state.calls

    @property
    def upstream_seconds(self) -> float:
        """Seconds until now in which a call was in flight."""
        with self._lock:
            return self._state.times.upstream_seconds

    @property
    def queue_seconds(self) -> float:
        """Seconds until now in which the request waited in a queue, or before a retry."""
        with self._lock:
            return self._state.times.queue_seconds

    def extend(self, deadline: float, positions: Sequence[int] | None = None) -> None:
        """Let another caller wait for the job, which must call `advance` then.

        ``positions`` of its items are in ascending order; None: it waits for all. The job ends at
        the latest deadline of its callers. By the soonest of those that wait for its items it is
        decided when a call is late: see `JobDeadline`.
        """
        with self._lock:
            self.deadline.add_caller(deadline, positions)
            self._state.hasten(deadline, positions)

    def advance(self, now: float) -> float:
        """Start what is due, and end the job at its deadline; return when to call this again."""
        state = self._state
        with self._lock:
            if state.finished:
                return NEVER
            try:
                self._wake_at = wake_at = state.advance(now)
            except Exception as error:  # a bug, which must not leave its other callers waiting
                wake_at = NEVER
                state.end_by_bug(error)
            effects = state.effects.take()
        if effects is not None:
            self._perform(effects, now)
        if self._state.finished:
            self._wake()  # for the other callers of this job
        return wake_at

    def start_first(self, positions: Sequence[int], flow: Flow) -> None:
        """Let the parts with these items start first: another request with ``flow`` waits for them.

        The other request must call `advance` then.
        """
        with self._lock:
            self._state.start_first(positions, flow)

    def keep_only(self, positions: Sequence[int], now: float) -> Sequence[tuple[int, int]]:
        """Stop the parts with none of these items: no caller waits for them any more.

        ``positions`` are in ascending order. Returns (start, stop) of the items that are stopped:
        `on_part` is not called for them.
        """
        with self._lock:
            stopped = self._state.keep_only(positions)
            effects = self._state.effects.take()
        if effects is not None:
            self._perform(effects, now)
        if self.is_settled:
            self._wake()
        return stopped

    def cancel(self, now: float, error: ClientError | None = None) -> None:
        """End the job, with ``error``: no caller waits for it any more."""
        with self._lock:
            self._state.cancel(error)
            effects = self._state.effects.take()
        if effects is not None:
            self._perform(effects, now)

    def outcome(self) -> Outcome:
        """Return the vectors, or raise the error that ended the job, with its purchases set."""
        with self._lock:
            return self._state.outcome()

    # For senders

    def receive(self, attempt: Attempt, result: Result, now: float) -> None:
        """Take the result of an attempt."""
        with self._lock:
            wake_at = self._state.receive(attempt, result, now)
            if wake_at is None:
                return
            must_wake = wake_at < self._wake_at
            effects = self._state.effects.take()
        try:
            if effects is not None:
                self._perform(effects, now)
        finally:
            if must_wake or self.is_settled:
                self._wake()

    def on_room(self) -> None:
        """Have a caller start the parts again that found all queues full. Takes no lock."""
        self._state.has_queue_room = True
        self._wake()

    # Under no lock

    def _perform(self, effects: Effects, now: float) -> None:
        """Perform effects on other objects: log, report, publish, cancel, send, eject."""
        if effects.bug is not None:
            _log.error("a request failed by a bug", exc_info=effects.bug)
        for report in effects.reports:
            report()
        for part, vectors, source in effects.answered:
            self._publish(part, vectors, source)
        for batch in effects.cancel:
            batch.deadline.cancel()
        for batch in effects.send:
            self._sender.send(batch)
        for attempt, reason in effects.not_sent:
            attempt.on_result(attempt, NotSent(reason), now)
        if effects.refuted:
            self._pool.refused_kinds.record_refuted()
        for attempt in effects.refuted:
            if self._pool.ejector.record_refuted_400(attempt, now):
                self._sender.report_ejection(self._pool, attempt.deployment, now)

    def _publish(self, part: Part, vectors: Vectors, source: Source) -> None:
        """Call `on_part` for a part; an exception of it ends the request."""
        error: BaseException | None = None
        try:
            assert self._on_part is not None
            self._on_part(part.start, part.stop, vectors, source)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._state.record_published(error)
            effects = self._state.effects.take() if error is not None else None
        for batch in effects.cancel if effects is not None else ():
            batch.deadline.cancel()
