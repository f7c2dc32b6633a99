"""Pools of deployments, and what happens to them in a test."""

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
    """Who was chosen how often, nothing being under way."""
    counts = Counter(of.choose(now, expected(1), **options) for _ in range(times))
    return {d.name if d else None: number for d, number in counts.items()}


def fail(of, member, error, now=T, seconds=0.05):
    """A call that left so many seconds ago fails; whether the deployment is ejected for it."""
    return of.ejector.failed(member, error, 1, now - seconds, now)


def succeed(of, member, seconds=0.05, now=T, items=1):
    """A call that left so many seconds ago is answered; those that are ejected for silence."""
    return of.ejector.succeeded(batch(attempt(member, items)), now - seconds, now)


def eject(of, member, error=refused, now=T):
    for _ in range(5):
        fail(of, member, error, now, 5.0 if isinstance(error, ProviderTimeout) else 0.0)


def abc(**settings):
    members = [deployment(name, **settings) for name in "abc"]
    return pool(*members), *members
