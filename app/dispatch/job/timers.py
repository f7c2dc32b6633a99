"""The times at which a running part is hedged and at which it is late. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.job.part import NEVER, Part
from app.dispatch.queue.attempt import Attempt

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
        self._is_used = len(suitable) > 1

    def set(self, part: Part, attempt: Attempt, deadline: float, now: float) -> None:
        """Set the times of a part for its first attempt.

        Whether another deployment may be called then is not known yet: one that is ejected now may
        be back by then.
        """
        if not self._is_used or len(part.attempts) > 1:
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

    def next(self, running: Mapping[Attempt, Part]) -> float:
        """Return the earliest time of all running parts."""
        if not self._is_used:
            return NEVER
        return min((min(p.late_at, p.hedge_at) for p in running.values()), default=NEVER)

    def due(self, running: Mapping[Attempt, Part], now: float) -> Sequence[Part]:
        """Return the parts that may be late or due for a hedge."""
        if not self._is_used:
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

        The attempt may be in flight or in its queue.
        A second call that was sent beside a late one gets its full time, from its own start.
        """
        if part.late_at > now:
            return False
        attempt = part.attempts[-1]
        deadline = attempt.deadline.at
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
