"""The error a caller sees when nobody could serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.pool import Pool
from app.domain import EmbeddingRequest
from app.errors import (
    ClientError,
    CredentialsRefused,
    NoProviderAvailable,
    ProviderError,
    RateLimited,
    Throttled,
    UpstreamFailed,
)

_SOON = 0.05  # seconds: the least that a Retry-After is made from


def verdict(
    request: EmbeddingRequest, pool: Pool, failures: Sequence[ProviderError], now: float
) -> ClientError:
    """What the failures of a request's attempts come to; without any, the state of the pool."""
    wait = max(_SOON, pool.wait(now, 0, request))
    if _is_throttled(pool, failures, now):
        return RateLimited(
            "Rate limit reached at every provider of this model. Try again later.",
            retry_after=wait,
        )
    if _is_refused(pool, failures):
        return UpstreamFailed(
            "The provider of this model refused the proxy's credentials.", should_retry=False
        )
    if not failures or (len(pool.deployments) > 1 and not pool.can_serve(now)):
        return NoProviderAvailable(
            "No provider of this model is available now. Try again soon.", retry_after=wait
        )
    return UpstreamFailed(
        f"The provider of this model failed: it {failures[-1].message}.",
        # We have retried already: an SDK that does so too makes nine calls of one.
        should_retry=False if len(failures) > 1 else None,
    )


def _is_throttled(pool: Pool, failures: Sequence[ProviderError], now: float) -> bool:
    if failures:
        return all(isinstance(failure, Throttled) for failure in failures)
    return any(deployment.is_throttled(now) for deployment in pool.deployments)


def _is_refused(pool: Pool, failures: Sequence[ProviderError]) -> bool:
    if failures:
        refused = any(isinstance(failure, CredentialsRefused) for failure in failures)
        return refused and not any(failure.transient for failure in failures)
    return all(deployment.health.refuses_our_key for deployment in pool.deployments)
