"""Hedges slow calls, and calls another deployment beside late ones. No I/O.

It runs under the lock of the job, as `app.dispatch.job.starter` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.job.part import Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.job.timers import Timers
from app.dispatch.queue.attempt import Attempt
from app.errors import ProviderTimeout

if TYPE_CHECKING:
    from app.dispatch.job.starter import JobContext


class SlowCalls:
    """Handles the slow calls of one request; ``submit`` is that of its `Starter`.

    It is made each time that a call is slow, since most requests have no such call.
    """

    def __init__(
        self,
        job: JobContext,
        parts: Parts,
        submit: Callable[[Part, Deployment, float], None],
    ) -> None:
        self._job = job
        self._parts = parts
        self._submit = submit

    def handle(self, due: Iterable[Part], now: float) -> None:
        """Hedge the parts that are due for it, and call another deployment for late ones."""
        for part in due:
            attempt = part.attempts[0]
            if Timers.check_hedge(part, attempt, now):
                self._hedge(part, attempt, now)
            if Timers.check_late(part, now):
                self._call_beside(part, attempt, now)

    def _hedge(self, part: Part, attempt: Attempt, now: float) -> None:
        """Send one more call elsewhere; the first answer wins."""
        pool, expected = self._job.pool, part.expected
        other = pool.choose(now, expected, self._job.suitable, part.called)
        if other is None or not other.fits(part.size, expected.total, part.is_bulk):
            return
        if other.queue.is_full:  # no other request loses its only attempt for a second one
            return
        budget = pool.retries if attempt.is_probe else pool.hedges
        if budget.spend():
            self._job.events.hedged(pool.model, other)
            self._submit(part, other, now)

    def _call_beside(self, part: Part, attempt: Attempt, now: float) -> None:
        """Call another deployment beside a late one, if one may be called and the budget allows."""
        other = self._choose_beside(part, now)
        if other is None:
            return
        queued = next((a for a in part.attempts if a.waits_for_slot), None)
        if queued is not None:
            self._move(part, queued, other, now)
            return
        pool, late = self._job.pool, ProviderTimeout("was too slow")
        if not pool.retries.spend():
            return
        self._job.events.retried(pool.model, attempt.deployment, late)
        part.has_call_beside = True
        part.failures.append(late)
        part.failed_at[attempt.deployment] = late
        fits = other.fits(part.size, part.expected.total, part.is_bulk)
        if not fits:  # no attempt runs beside a split part
            self._parts.transition(part, PartState.WAITING)
            return
        if len(part.attempts) > 1:
            self._parts.drop_attempt(part, attempt)
        part.late_at = now + part.late_after  # of the new call
        self._submit(part, other, now)

    def _move(self, part: Part, queued: Attempt, other: Deployment, now: float) -> None:
        """Move a queued attempt to a free slot of another deployment, which costs no extra call."""
        if other.queue.free <= 0:
            return
        fits = other.fits(part.size, part.expected.total, part.is_bulk)
        is_only = len(part.attempts) == 1
        if not (fits or is_only):
            return  # no attempt runs beside a split part
        if not is_only:
            self._parts.drop_attempt(part, queued)
            part.late_at = now + part.late_after
        elif fits:
            self._parts.transition(part, PartState.WAITING)
            self._parts.waiting.remove(part)
        else:
            self._split_for(part, other, now)
            return
        self._submit(part, other, now)

    def _split_for(self, part: Part, other: Deployment, now: float) -> None:
        """Split a part into parts that fit a deployment; submit those that may be sent there."""
        for smaller in self._parts.split(part, other.split(part.tokens, part.is_bulk)):
            has_room = len(self._parts.running) < self._job.pool.max_slots
            if not has_room or not self._job.pool.may_be_called(other, smaller.expected, now, True):
                return  # the other parts wait, and are started as any part
            self._parts.waiting.remove(smaller)
            self._submit(smaller, other, now)

    def _choose_beside(self, part: Part, now: float) -> Deployment | None:
        pool, expected, suitable = self._job.pool, part.expected, self._job.suitable
        other = pool.choose(now, expected, suitable, part.called)
        if other is None and part.has_call_beside:  # one that failed before, but may not fail again
            running = {attempt.deployment for attempt in part.attempts}
            other = pool.choose(now, expected, suitable, running.union(part.permanently_failed_at))
        return other
