"""The health of a deployment at the start of a test."""

from app.dispatch.health.circuit_breaker import Health
from tests.dispatch.parts import T
from tests.dispatch.pools import ill


def healthy(jitter=lambda: 0.999999):
    """Return health whose ejections and rests have their maximum length, without jitter."""
    return Health(jitter)


def ejected(error=ill, now=T):
    """Return health whose ejection has just begun."""
    health = healthy()
    health.eject(error, now)
    return health
