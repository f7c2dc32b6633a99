"""The errors that a caller gets when no deployment could serve: 400, 429, 502 or 503. Pure.

A 504 is made where the deadline is noticed, such as in `app.dispatch.job.job_state`.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.token_estimate import Expected
from app.dispatch.job.context import JobContext
from app.dispatch.job.part import Part
from app.dispatch.quotas.quota import MAX_WAIT_S
from app.errors import (
    BadRequest,
    ClientError,
    CredentialsRefused,
    NoProviderAvailable,
    Overloaded,
    ProviderError,
    RateLimited,
    RefusedByProvider,
    Rejected,
    SpaceDrifted,
    Throttled,
    UpstreamFailed,
)

_MIN_RETRY_AFTER_S = 0.05
_UNKNOWN_DRAIN_S = 1.0  # until a full queue is empty, while that is not known
_MAX_DRAIN_S = 60.0
_DRIFTED_RETRY_AFTER_S = 60.0  # an operator has to act first


def error_of_part(context: JobContext, part: Part, now: float) -> ClientError:
    """Return the caller's error for a part that is given up: see `error_of_failures`."""
    return error_of_failures(
        context.pool,
        context.suitable,
        part.failures,
        part.is_refused_alone(now),
        part.expected,
        now,
    )


def error_of_failures(
    pool: Pool,
    suitable: Sequence[Deployment],
    failures: Sequence[ProviderError],
    is_refused_alone: bool,
    expected: Expected,
    now: float,
) -> ClientError:
    """Return the caller's error for the failures of a part; without any, for the pool's state.

    A 400 counts only where all failures are 400s; a trusted one has already ended the request. Each
    must also be the answer to a call of this part alone (``is_refused_alone``): another request may
    have caused the 400 to a merged call.
    """
    refusals = [failure for failure in failures if isinstance(failure, Rejected)]
    if refusals and len(refusals) == len(failures) and is_refused_alone:
        return refusal(refusals[0])
    failures = [failure for failure in failures if not isinstance(failure, Rejected)]
    if all(d.standing.is_ejected_for_drift for d in suitable):
        return SpaceDrifted(
            "The vectors of this model have drifted from those of its vector space.",
            retry_after=_DRIFTED_RETRY_AFTER_S,
        )
    wait = max(_MIN_RETRY_AFTER_S, pool.wait_s(now, expected, suitable))
    all_throttled = all(isinstance(failure, Throttled) for failure in failures)
    if all_throttled and pool.is_full(now, expected, suitable, MAX_WAIT_S):
        return Overloaded(
            "Too many requests are waiting here. Try again soon.",
            retry_after=_seconds_to_drain(suitable, expected, now),
        )
    if all_throttled and (failures or pool.is_throttled(now, expected, suitable)):
        return RateLimited(
            "Rate limit reached at every provider of this model. Try again later.",
            retry_after=wait,
        )
    if _are_credentials_refused(suitable, failures):
        return UpstreamFailed(
            "The provider of this model refused the proxy's credentials.", should_retry=False
        )
    if not failures or (len(suitable) > 1 and not pool.can_serve(now)):
        return NoProviderAvailable(
            "No provider of this model is available now. Try again soon.", retry_after=wait
        )
    return UpstreamFailed(
        f"The provider of this model failed: it {failures[-1].message}.",
        # The proxy has retried already: with the retries of an SDK a request would make nine calls.
        should_retry=False if len(failures) > 1 else None,
    )


def refusal(failure: Rejected) -> BadRequest:
    """Return the caller's error for a provider's 400."""
    error = RefusedByProvider(failure.message, param=failure.param)
    # The provider's own message may quote the request: it is not logged.
    error.log_message = "a provider refused the request as invalid"
    return error


def doubtful(failure: Rejected) -> UpstreamFailed:
    """Return the caller's error for a 400 that may be the provider's fault."""
    error = UpstreamFailed(f"The provider of this model refused the request: {failure.message}")
    error.log_message = "a provider refused the request as invalid, and no other could be called"
    return error


def _seconds_to_drain(suitable: Sequence[Deployment], expected: Expected, now: float) -> float:
    """Return the seconds until the first of the full queues is expected to be empty."""
    full = [d.queue for d in suitable if not d.queue.has_room(expected.flow)]
    known = [queue.seconds_to_drain(now) for queue in full]
    seconds = min((s for s in known if s is not None), default=_UNKNOWN_DRAIN_S)
    return min(max(seconds, _MIN_RETRY_AFTER_S), _MAX_DRAIN_S)


def _are_credentials_refused(
    suitable: Sequence[Deployment], failures: Sequence[ProviderError]
) -> bool:
    if failures:
        has_credentials_refused = any(
            isinstance(failure, CredentialsRefused) for failure in failures
        )
        return has_credentials_refused and not any(failure.transient for failure in failures)
    return all(d.breaker.credentials_refused for d in suitable)
