"""What follows a failed attempt. A pure decision: nothing is changed, drawn or charged here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.config_dispatch import DispatchSettings
from app.dispatch.attempt import Attempt, NotSent
from app.errors import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    ProviderError,
    ProviderTimeout,
    RefusedByProvider,
    Rejected,
    Throttled,
    UpstreamFailed,
)

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment
    from app.dispatch.part import Part
    from app.dispatch.pool import Pool


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask the same deployment again, after a pause; ``alone`` in a call of its own."""

    alone: bool = False
    cost: float = 1.0  # to the retry budget, in calls


@dataclass(frozen=True, slots=True)
class FailOver:
    """Ask another deployment, at once."""

    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Wait:
    """No deployment may be asked now: wait for one, or give up. To be charged when one is asked."""


@dataclass(frozen=True, slots=True)
class Halve:
    """The call was too large: split the part in two."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Give up. ``error`` None: what all failures of the part come to."""

    error: ClientError | None = None


Decision = Retry | FailOver | Wait | Halve | Fail


@dataclass(frozen=True, slots=True)
class Options:
    """What could be done for a part now."""

    has_other: bool  # another deployment than those that have failed it may be asked
    has_any: bool  # a deployment may be asked that would not surely fail it again
    has_candidate: bool  # there is such a deployment, though it may not be asked now
    has_second_opinion: bool = True  # there is one that has not refused it with 400
    trusts_400: bool = False  # the deployment has embedded requests of that kind lately
    doubts_400: bool = False  # nothing speaks for its 400


def options(
    part: Part, attempt: Attempt, pool: Pool, suitable: Sequence[Deployment], now: float
) -> Options:
    """What could be done for a part now; ``suitable`` can serve its request while all is well."""
    standing, kind, expected = attempt.deployment.standing, attempt.kind, part.expected
    hopeless = part.permanently_failed_at
    has_other = pool.has_other(now, expected, suitable, part.failed_at)
    return Options(
        has_other,
        has_other or pool.has_other(now, expected, suitable, hopeless),
        any(deployment not in hopeless for deployment in suitable),
        any(deployment not in part.refused_by for deployment in suitable),
        standing.trusts_400(kind, now),
        standing.doubts_400(kind),
    )


def max_pause(failures: int, settings: DispatchSettings) -> float:
    """Seconds before a part that has failed so often is sent to the same deployment again, at most.

    The pause is drawn below it: full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).
    """
    return min(settings.longest_pause, settings.first_pause * 2.0**failures)


def decide(
    part: Part, attempt: Attempt, failure: ProviderError, pool: Pool, options: Options
) -> Decision:
    """What follows a failure, which ``part.failures`` holds already, unless it was not sent.

    1. It was not sent: another deployment, or the same, free of charge.
    2. The provider refused it with 400: see `_after_refusal`.
    3. Every deployment would fail it again: give up. Or none may be asked now: wait.
    4. No other may be asked, and this one has timed out: give up.
    5. It has failed too often, or the budget is used up: give up.
    6. Another deployment at once; or else the same one, after a pause.
    """
    if isinstance(failure, NotSent):
        return Wait() if part.retry_not_charged else FailOver(cost=0.0)
    if isinstance(failure, Rejected):
        return _after_refusal(part, attempt, failure, options, pool)
    if not options.has_candidate:
        return Fail()
    if not options.has_any:
        return Wait()
    if not options.has_other and isinstance(failure, ProviderTimeout):
        return Fail()
    if len(part.failures) >= pool.settings.max_failures + len(pool.deployments) - 1:
        return Fail()
    # A connection that was never made, or a call that was turned away, cost the provider next to
    # nothing. Attempts that shared a call share the price of one.
    free = options.has_other and isinstance(failure, ConnectionFailed | Throttled)
    cost = 0.0 if free else 1 / attempt.batch_size
    if not pool.retries.can_spend(cost):
        return Fail()
    if options.has_other:
        return FailOver(cost)
    # What fails in a merged call may fail for another's sake: some engines answer 500 to a text
    # that is too long.
    return Retry(alone=attempt.batch_size > 1, cost=cost)


def _after_refusal(
    part: Part, attempt: Attempt, failure: Rejected, options: Options, pool: Pool
) -> Decision:
    """What follows a 400.

    1. The call was too large, and held several items: two smaller ones.
    2. Another deployment has refused it, too, or this one embeds such requests, or there is no
       other: it is the caller's fault. But only after a call of its own.
    3. Else another deployment is asked, once, before the caller is told.
    4. Where none may be asked now, or the budget is used up, the caller gets the 400; but another
       error if nothing speaks for the 400: it may be the provider's fault.
    """
    if failure.too_large and part.size > 1:
        return Halve()
    believed = options.trusts_400 or part.is_refusal_shared or not options.has_second_opinion
    cost = 1 / attempt.batch_size
    if not believed and options.has_other and pool.retries.can_spend(cost):
        return FailOver(cost)
    if attempt.batch_size > 1:
        return Retry(alone=True, cost=0.0)
    if believed or not options.doubts_400:
        return Fail(refusal(failure))
    has_failed_elsewhere = not all(isinstance(error, Rejected) for error in part.failures)
    return Fail(None if has_failed_elsewhere else doubtful(failure))


def refusal(failure: Rejected) -> BadRequest:
    """What the caller is told of a provider's 400."""
    error = RefusedByProvider(failure.message, param=failure.param)
    error.log_message = "a provider refused the request as invalid"  # its own words may quote it
    return error


def doubtful(failure: Rejected) -> UpstreamFailed:
    """What the caller is told of a 400 that no other deployment could be asked about."""
    error = UpstreamFailed(f"The provider of this model refused the request: {failure.message}")
    error.log_message = "a provider refused the request as invalid, and no other could be asked"
    return error
