"""What follows a failed attempt: `decide` chooses a step, `NextStep` carries it out. No I/O."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.dispatch.job.caller_errors import doubtful, refusal
from app.dispatch.job.context import JobContext
from app.dispatch.job.part import Part, PartState
from app.dispatch.job.parts import Parts
from app.dispatch.queue.attempts import Attempt, NotSent
from app.errors import (
    ClientError,
    ConnectionFailed,
    Drifted,
    ProviderError,
    ProviderTimeout,
    Rejected,
    Throttled,
)

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.deployments.pool import Pool

_NOT_SENT_PAUSE_S = 0.001  # after `NotSent`, before another deployment is chosen
_MIN_REST_S = 0.1  # after a 429, before a call that is charged to no budget
_MAX_DOUBLINGS = 16  # of the pause before a retry: tier flex may have a failure for each rest


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the same deployment again, or another one if that may be called by then."""

    never_merge: bool = False  # in a call of its own
    cost: float = 1.0  # to the retry budget, in calls; over 0, the call follows a pause


@dataclass(frozen=True, slots=True)
class FailOver:
    """Call another deployment, at once."""

    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until a deployment may be called, or give up; its call is charged to the budget."""


@dataclass(frozen=True, slots=True)
class WaitForRest:
    """Wait until a rest has ended, free of charge; the same deployment may be called again."""


@dataclass(frozen=True, slots=True)
class Halve:
    """Split the part: the call was too large."""


@dataclass(frozen=True, slots=True)
class Fail:
    """End the request with ``error``; None: with the `error_of_part` of the part."""

    error: ClientError | None = None


Decision = Retry | FailOver | Wait | WaitForRest | Halve | Fail


@dataclass(frozen=True, slots=True)
class Options:
    """The possible next steps for a part."""

    has_other: bool  # a deployment that has not failed it may be called now
    has_any: bool  # a deployment that has not failed it permanently may be called now
    has_candidate: bool  # one has not failed it permanently, but may not be callable now
    has_second_opinion: bool = True  # one has not refused it in a call of its own
    trusts_400: bool = False  # the deployment has embedded requests of that kind lately
    doubts_400: bool = False  # its 400 may be its own fault: see `Standing.doubts_400`
    is_kind_refused: bool = False  # all deployments refuse such requests: see `RefusedKinds`


def options_for(
    part: Part,
    attempt: Attempt,
    pool: Pool,
    suitable: Sequence[Deployment],
    now: float,
    request_kind: Hashable = None,
) -> Options:
    """Return the possible next steps for a part; ``suitable`` can serve its request."""
    standing, kind, expected = attempt.deployment.standing, attempt.kind, part.expected
    excluded = part.permanently_failing
    has_other = pool.has_other(now, expected, suitable, part.last_errors)
    return Options(
        has_other=has_other,
        has_any=has_other or pool.has_other(now, expected, suitable, excluded),
        has_candidate=any(d not in excluded for d in suitable),
        has_second_opinion=any(not part.was_refused_alone_by(d) for d in suitable),
        trusts_400=standing.trusts_400(kind, now),
        doubts_400=standing.doubts_400(kind, now),
        is_kind_refused=pool.refused_kinds.are_refused(request_kind, now),
    )


def decide(
    part: Part, attempt: Attempt, failure: ProviderError, pool: Pool, options: Options
) -> Decision:
    """Decide what follows a failure, and change nothing.

    ``part.failures`` holds the failure already, except a `NotSent`. There are seven cases:

    1. The attempt was not sent: choose a deployment again, free of charge.
    2. The provider refused it with 400: see `_after_refusal`.
    3. Every provider throttles a request of tier flex: wait for them, free of charge, since each
       call follows a rest.
    4. Every deployment would fail it again: give up. Or none may be called now: wait.
    5. No other deployment may be called, and this one has timed out: give up.
    6. The part has failed too often, or the budget is used up: give up.
    7. Else call another deployment at once; without one, the same after a pause.
    """
    if isinstance(failure, NotSent):
        return FailOver(cost=0.0)
    if isinstance(failure, Rejected):
        return _after_refusal(part, attempt, failure, options, pool)
    if isinstance(failure, Throttled) and part.flow.tier == "flex" and not options.has_other:
        return WaitForRest()
    if not options.has_candidate:
        return Fail()
    if not options.has_any:
        return Wait()
    if not options.has_other and isinstance(failure, ProviderTimeout):
        return Fail()
    if part.counted_failures >= pool.settings.max_failures + len(pool.deployments) - 1:
        return Fail()
    # A refused connection and a 429 cost the provider nearly nothing, so a fail-over after one is
    # free; so is one after drift, which happens once. Attempts that shared a call share its cost.
    free = options.has_other and isinstance(failure, ConnectionFailed | Throttled | Drifted)
    cost = 0.0 if free else 1 / attempt.batch_size
    if not pool.retries.can_spend(cost):
        return Fail()
    if options.has_other:
        return FailOver(cost)
    # Another request of a merged call may have caused the failure: some engines answer 500 to a
    # text that is too long.
    return Retry(never_merge=attempt.batch_size > 1, cost=cost)


def _after_refusal(
    part: Part, attempt: Attempt, failure: Rejected, options: Options, pool: Pool
) -> Decision:
    """Decide what follows a 400. There are five cases:

    1. The call was too large, and held several items: split the part in two.
    2. Another deployment has refused the part, too, or this one embeds such requests, or there is
       no other: the 400 is the caller's fault. A part of a merged call is first sent alone.
    3. Else another deployment is called, once, before the caller gets the 400.
    4. Another has refused the part only in a batch, maybe by the fault of another request: it is
       called again, for this part alone.
    5. No other may be called now, or the budget is used up: the caller gets the 400; or a 502
       if the deployment itself is in doubt (`Standing.doubts_400`). Where only the budget does not
       allow it, that is no doubt about a kind of request that all deployments refuse.
    """
    if failure.too_large and part.size > 1:
        return Halve()
    is_trusted = options.trusts_400 or part.is_refusal_shared or not options.has_second_opinion
    cost = 1 / attempt.batch_size
    if not is_trusted and options.has_other and pool.retries.can_spend(cost):
        return FailOver(cost)
    may_be_called_alone = not is_trusted and part.has_merged_refusal and options.has_any
    if attempt.batch_size > 1 or may_be_called_alone:
        return Retry(never_merge=True, cost=0.0)
    has_other_failure = any(not isinstance(error, Rejected) for error in part.failures)
    only_budget_forbids = options.has_other and not has_other_failure
    if is_trusted or not options.doubts_400 or (options.is_kind_refused and only_budget_forbids):
        return Fail(refusal(failure))
    return Fail() if has_other_failure else Fail(doubtful(failure))


class NextStep:
    """Decides what follows a failure of a part, and carries it out.

    It is made after a failure, as most parts have none.
    """

    def __init__(self, context: JobContext, parts: Parts, rng: random.Random) -> None:
        self._context, self._pool = context, context.pool
        self._parts = parts
        self._rng = rng

    def decide(self, part: Part, attempt: Attempt, error: ProviderError, now: float) -> Decision:
        """Return what follows the failure of an attempt."""
        context = self._context
        possible = options_for(part, attempt, self._pool, context.suitable, now, context.kind)
        return decide(part, attempt, error, self._pool, possible)

    def carry_out(
        self,
        part: Part,
        attempt: Attempt,
        error: ProviderError,
        decision: Decision,
        now: float,
    ) -> Fail | None:
        """Let the part wait for its next attempt, or split it; `Fail` is returned as it is."""
        match decision:
            case Fail():
                return decision
            case Halve():
                assert isinstance(error, Rejected)
                if not self._parts.halve(part, self._pool):
                    return Fail(refusal(error))
            case Wait():
                part.must_charge_retry = True
                self._parts.transition(part, PartState.WAITING)
            case WaitForRest():
                part.last_errors.pop(attempt.deployment, None)
                rest_until = now + self._pool.wait_s(now, part.expected, self._context.suitable)
                if rest_until >= self._context.deadline.at:  # `Starter` would give it up
                    return Fail()
                part.due = max(rest_until, now + max(_MIN_REST_S, self.draw_pause_s(part)))
                self._parts.transition(part, PartState.WAITING)
            case FailOver(cost) | Retry(cost=cost):
                # Another request may have spent the budget since the decision.
                if cost and not self._pool.retries.spend(cost):
                    return Fail()
                # Without a pause, an attempt that no queue accepts would be submitted in a loop.
                part.due = now + (_NOT_SENT_PAUSE_S if isinstance(error, NotSent) else 0.0)
                if isinstance(decision, Retry):
                    part.never_merge |= decision.never_merge
                    part.due += self.draw_pause_s(part) if cost else 0.0
                if not isinstance(error, NotSent):
                    reports, retried = self._parts.effects.reports, self._context.events.retried
                    reports.append(partial(retried, self._pool.model, attempt.deployment, error))
                self._parts.transition(part, PartState.WAITING)
        return None

    def draw_pause_s(self, part: Part) -> float:
        """Draw the seconds before the same deployment is called again: exponential, full jitter.

        Source: Brooker, "Exponential Backoff And Jitter", AWS 2015.
        """
        settings, doublings = self._pool.settings, min(len(part.failures), _MAX_DOUBLINGS)
        longest_s = min(settings.longest_pause, settings.first_pause * 2.0**doublings)
        return self._rng.uniform(0, longest_s)
