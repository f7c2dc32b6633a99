"""Slow calls of a request: when one is hedged or late, and the call beside it. No I/O.

It runs under the lock of the job, as `app.dispatch.job.starter` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.job.context import JobContext
from app.dispatch.job.joined import has_any
from app.dispatch.job.part import NEVER, Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.queue.attempts import Attempt
from app.errors import ProviderTimeout

_PROBE_HEDGE_FACTOR = 2.0  # a probe's request is hedged after so many times the p95
_MIN_PROBE_HEDGE_S = 0.05  # a probe's request is hedged after so long at the earliest
_UNKNOWN_PROBE_HEDGE_S = 0.5  # a probe's request is hedged after so long where no p95 is known
_MIN_HALF_S = 0.05  # where half of the time left is shorter, another call would be cut, too


class Timers:
    """Sets and reads the times of the parts of one request.

    They count from the start of a call, not from when it is queued, so that overload alone causes
    no hedge. While an attempt is queued its start is not known: a time that passes too early is set
    again from the start of the call.
    """

    def __init__(self, pool: Pool, suitable: Sequence[Deployment], is_hedged: bool) -> None:
        self._pool = pool
        self._suitable = suitable
        self._is_hedged = is_hedged
        self._has_alternative = len(suitable) > 1

    def set(self, part: Part, attempt: Attempt, deadline: float, now: float) -> None:
        """Set the times of a part for its only attempt; a second one leaves them as they are.

        Whether another deployment may be called at these times is not known yet: one that is
        ejected now may be back by then.
        """
        if not self._has_alternative or len(part.attempts) > 1:
            return
        deployment = attempt.deployment
        p95_s = self._pool.p95_or_slowest_s(deployment, part.size)
        part.late_after = deployment.standing.time_limits.late_after(p95_s)
        part.late_at = _late_at(part, now, deadline)
        part.hedge_after = self._hedge_after(attempt, p95_s)
        part.hedge_at = now + part.hedge_after

    def _hedge_after(self, attempt: Attempt, p95_s: float | None) -> float:
        if attempt.is_probe:  # its request must not wait for a deployment that still fails
            if p95_s is None:
                return _UNKNOWN_PROBE_HEDGE_S
            return max(_MIN_PROBE_HEDGE_S, _PROBE_HEDGE_FACTOR * p95_s)
        if p95_s is None or not self._is_hedged:
            return NEVER
        return self._pool.settings.hedge_factor * p95_s

    def hasten(
        self,
        running: Mapping[Attempt, Part],
        deadline: float,
        positions: Sequence[int] | None,
    ) -> None:
        """Make parts late in time for the deadline of a caller that has joined their request.

        ``positions`` are those of the items for which it waits; None: for all.
        """
        for part in dict.fromkeys(running.values()) if self._has_alternative else ():
            if positions is not None and not has_any(part, positions):
                continue
            newest = part.attempts[-1]
            since = newest.call_started_at or newest.queued_at
            part.late_at = min(part.late_at, _late_at(part, since, deadline))

    def next(self, running: Mapping[Attempt, Part]) -> float:
        """Return the earliest time of all running parts."""
        if not self._has_alternative:
            return NEVER
        return min((min(p.late_at, p.hedge_at) for p in running.values()), default=NEVER)

    def due(self, running: Mapping[Attempt, Part], now: float) -> Sequence[Part]:
        """Return the parts that may be late or due for a hedge."""
        if not self._has_alternative:
            return ()
        parts = dict.fromkeys(running.values())
        return [part for part in parts if part.late_at <= now or part.hedge_at <= now]

    @staticmethod
    def check_hedge(part: Part, attempt: Attempt, now: float) -> bool:
        """Return whether to hedge the only attempt of a part now; set its next time, if any."""
        if part.hedge_at > now:
            return False
        started_at = attempt.call_started_at
        if started_at is None or attempt.waits_for_slot:
            started_at = now
        part.hedge_at = started_at + part.hedge_after
        if part.hedge_at > now:
            return False
        part.hedge_at = NEVER
        return len(part.attempts) == 1

    @staticmethod
    def check_late(part: Part, now: float) -> bool:
        """Return whether a part is late now, by its newest attempt; set its next time.

        The attempt may be in flight or in its queue. A second call that was sent beside a late one
        gets its full time, from its own start.
        """
        if part.late_at > now:
            return False
        attempt = part.attempts[-1]
        deadline = attempt.deadline.soonest(now, part.start, part.stop)
        if attempt.call_started_at is not None:
            part.late_at = _late_at(part, attempt.call_started_at, deadline)
            if part.late_at > now:
                return False
        part.late_at = _late_at(part, now, deadline)  # once more, if nothing can be done now
        return True


def _late_at(part: Part, since: float, deadline: float) -> float:
    """Return when a part that waits since a time is late, with time left for another call."""
    half = (deadline - since) / 2
    return since + min(half, part.late_after) if half >= _MIN_HALF_S else NEVER


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
            hedged = self._job.events.hedged
            self._parts.effects.reports.append(partial(hedged, pool.model, other))
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
        retried = self._job.events.retried
        reports = self._parts.effects.reports
        reports.append(partial(retried, pool.model, attempt.deployment, late))
        part.has_call_beside = True
        part.failures.append(late)
        part.last_errors[attempt.deployment] = late
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
        if len(part.attempts) == 1:
            if not fits:
                self._split_for(part, other, now)
                return
            self._parts.transition(part, PartState.WAITING)
            self._parts.waiting.remove(part)
        else:
            if not fits:  # no attempt runs beside a split part
                return
            self._parts.drop_attempt(part, queued)
            part.late_at = now + part.late_after
        self._submit(part, other, now)

    def _split_for(self, part: Part, other: Deployment, now: float) -> None:
        """Split a part into parts that fit a deployment; submit those that may be sent there."""
        pool = self._job.pool
        for smaller in self._parts.split(part, other.split(part.tokens, part.is_bulk)):
            has_room = len(self._parts.running) < pool.max_slots
            if not has_room or not pool.may_be_called(
                other, smaller.expected, now, last_resort=True
            ):
                return  # the other parts wait, and are started as any part
            self._parts.waiting.remove(smaller)
            self._submit(smaller, other, now)

    def _choose_beside(self, part: Part, now: float) -> Deployment | None:
        pool, expected, suitable = self._job.pool, part.expected, self._job.suitable
        other = pool.choose(now, expected, suitable, part.called)
        if other is None and part.has_call_beside:  # one that failed before, but may not fail again
            running = {attempt.deployment for attempt in part.attempts}
            other = pool.choose(now, expected, suitable, running.union(part.permanently_failing))
        return other
