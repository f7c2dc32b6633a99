"""Embeds a request on one deployment that the caller names, whatever its health: no fail-over.

It is for administrators who compare deployments. Its calls are those of `app.dispatch.drift`: they
leave only while no request waits, and change neither health nor latency of the deployment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from app.concurrency.deadline import Deadline
from app.dispatch.deployment import Deployment
from app.dispatch.drift import BackgroundCalls, NoIdleSlot
from app.dispatch.plan import split
from app.dispatch.pool import Pool
from app.dispatch.preparation import prepare
from app.dispatch.retry import refusal
from app.domain import EmbeddingRequest, Item, Outcome, Vectors
from app.errors import (
    ClientClosedRequest,
    ClientError,
    CredentialsRefused,
    DeadlineExceeded,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Throttled,
    UpstreamFailed,
)

_RETRY_AFTER_S = 1.0  # where no slot was idle, or the provider does not say


def embed_on(
    pool: Pool,
    deployment: Deployment,
    calls: BackgroundCalls,
    request: EmbeddingRequest,
    deadline: float,
    has_client_left: Callable[[], bool],
) -> Outcome:
    """Return the vectors of a request, which this deployment of the pool has embedded.

    Raises a `ClientError`, with what was bought before. ``deadline`` is of the monotonic clock.
    """
    prepared = prepare(pool, request, Deadline(deadline), [deployment])
    started = time.monotonic()
    done: list[Vectors] = []
    for start, stop in split(prepared.tokens, deployment.max_inputs, deployment.max_tokens):
        items = prepared.items(deployment, request, start, stop)
        try:
            done.append(_call(calls, deployment, request, items, deadline, has_client_left))
        except ClientError as error:
            error.attempts = len(done) + 1
            error.purchases = _purchases(deployment, done)
            raise
    rows = [row for vectors in done for row in vectors.rows]
    tokens = [count for vectors in done for count in vectors.tokens]
    return Outcome(
        Vectors(rows, tokens, any(vectors.estimated for vectors in done)),
        provider=deployment.name,
        attempts=len(done),
        upstream_seconds=time.monotonic() - started,
        sources=[deployment.source],
        purchases=_purchases(deployment, done),
    )


def _purchases(deployment: Deployment, done: Sequence[Vectors]) -> dict[tuple[str, str], int]:
    tokens = sum(sum(vectors.tokens) for vectors in done)
    return {deployment.source: tokens} if done else {}


def _call(
    calls: BackgroundCalls,
    deployment: Deployment,
    request: EmbeddingRequest,
    items: Sequence[Item],
    deadline: float,
    has_client_left: Callable[[], bool],
) -> Vectors:
    """Make one call. Raises a `ClientError`."""
    wait_s = deadline - time.monotonic()
    if wait_s <= 0:
        raise DeadlineExceeded.after(request.timeout)
    try:
        return calls.embed(deployment, items, wait_s, has_client_left, deadline, request)
    except ProviderError as failure:
        if has_client_left():
            raise ClientClosedRequest.before_answer() from failure
        if time.monotonic() >= deadline and not isinstance(failure, NoIdleSlot):
            raise DeadlineExceeded.after(request.timeout) from failure
        raise _error_of(failure) from failure


def _error_of(failure: ProviderError) -> ClientError:
    """Return the caller's error for a failure of this deployment, which nothing follows."""
    match failure:
        case Rejected():
            return refusal(failure)
        case NoIdleSlot():
            return Overloaded(
                "This deployment has no idle slot, or no quota left.", retry_after=_RETRY_AFTER_S
            )
        case Throttled():
            wait_s = failure.retry_after or _RETRY_AFTER_S
            return RateLimited("This deployment is at its rate limit.", retry_after=wait_s)
        case CredentialsRefused():
            return UpstreamFailed(
                "This deployment refused the proxy's credentials.", should_retry=False
            )
        case _:
            return UpstreamFailed(f"This deployment failed: it {failure.message}.")
