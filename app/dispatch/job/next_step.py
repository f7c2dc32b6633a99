"""Takes the next step of a part whose attempt has failed, as `app.dispatch.job.retry` decides.

No I/O. It runs under the lock of the job, as `app.dispatch.job.job_state` does.
"""

from __future__ import annotations

import random

from app.dispatch.job import retry
from app.dispatch.job.part import Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.job.starter import JobContext
from app.dispatch.queue.attempt import Attempt, NotSent
from app.errors import ProviderError, Rejected

_NOT_SENT_PAUSE_S = 0.001  # after `NotSent`, before another deployment is chosen


class NextStep:
    """Decides what follows a failure of a part, and carries it out.

    It is made after a failure, as most parts have none.
    """

    def __init__(self, context: JobContext, parts: Parts, rng: random.Random) -> None:
        self._context = context
        self._pool = context.pool
        self._parts = parts
        self._rng = rng

    def decide(
        self, part: Part, attempt: Attempt, error: ProviderError, now: float
    ) -> retry.Decision:
        """Return what follows the failure of an attempt."""
        options = retry.options(part, attempt, self._pool, self._context.suitable, now)
        return retry.decide(part, attempt, error, self._pool, options)

    def take(
        self,
        part: Part,
        attempt: Attempt,
        error: ProviderError,
        decision: retry.Decision,
        now: float,
    ) -> retry.Fail | None:
        """Let the part wait for its next attempt, or split it; `Fail` is returned as it is."""
        match decision:
            case retry.Fail():
                return decision
            case retry.Halve():
                assert isinstance(error, Rejected)
                if not self._parts.halve(part, self._pool):
                    return retry.Fail(retry.refusal(error))
            case retry.Wait(must_charge_retry):
                part.must_charge_retry = must_charge_retry
                if not must_charge_retry:  # the same deployment may be called again after its rest
                    part.failed_at.pop(attempt.deployment, None)
                    rest_s = self._pool.wait(now, part.expected, self._context.suitable)
                    part.due = now + max(rest_s, self.pause(part))
                self._parts.transition(part, PartState.WAITING)
            case retry.FailOver(cost) | retry.Retry(cost=cost):
                # Another request may have spent the budget since the decision.
                if cost and not self._pool.retries.spend(cost):
                    return retry.Fail()
                # Without a pause, an attempt that no queue accepts would be submitted in a loop.
                part.due = now + (_NOT_SENT_PAUSE_S if isinstance(error, NotSent) else 0.0)
                if isinstance(decision, retry.Retry):
                    part.never_merge |= decision.never_merge
                    part.due += self.pause(part) if cost else 0.0
                if not isinstance(error, NotSent):
                    self._context.events.retried(self._pool.model, attempt.deployment, error)
                self._parts.transition(part, PartState.WAITING)
        return None

    def pause(self, part: Part) -> float:
        """Draw the seconds before the same deployment is called again."""
        max_pause_s = retry.max_pause(len(part.failures), self._pool.settings)
        return self._rng.uniform(0, max_pause_s)
