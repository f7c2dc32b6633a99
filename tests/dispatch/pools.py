"""Pools of deployments, and events for them."""

from collections import Counter

from app.errors import (
    ConnectionFailed,
    CredentialsRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from tests.dispatch.parts import T, attempt, batch, deployment, expected, pool

ill = ProviderUnavailable("failed with 503")
refused = ConnectionFailed("could not be reached")
credentials = CredentialsRefused("refused our credentials (401)")


def chosen(of, times=1000, now=T, **options):
    """Count the choices without calls in flight."""
    counts = Counter(of.choose(now, expected(1), **options) for _ in range(times))
    return {d.provider_name if d else None: number for d, number in counts.items()}


def fail(of, member, error, now=T, seconds=0.05):
    """Let a call of this age fail; return whether the deployment is ejected."""
    return of.ejector.record_failure(member, error, 1, now - seconds, now, is_probe=True)


def succeed(of, member, seconds=0.05, now=T, items=1):
    """Let a call of this age succeed; return the deployments ejected for silence."""
    return of.ejector.record_success(batch(attempt(member, items)), now - seconds, now)


def eject(of, member, error=refused, now=T):
    for _ in range(5):
        fail(of, member, error, now, 5.0 if isinstance(error, ProviderTimeout) else 0.0)


def abc(**settings):
    members = [deployment(name, **settings) for name in "abc"]
    return pool(*members), *members


def drift(*deployments):
    """Eject deployments for drift."""
    for made in deployments:
        made.standing.is_ejected_for_drift = True
