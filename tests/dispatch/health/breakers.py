"""The circuit breaker of a deployment at the start of a test."""

from app.dispatch.health.circuit_breaker import DeploymentBreaker
from tests.dispatch.parts import T
from tests.dispatch.pools import ill


def closed_breaker(jitter=lambda: 0.999999):
    """Return a breaker whose ejections and rests have their maximum length, without jitter."""
    return DeploymentBreaker(jitter)


def ejected_breaker(error=ill, now=T):
    """Return a breaker whose ejection has just begun."""
    breaker = closed_breaker()
    breaker.eject(error, now)
    return breaker
