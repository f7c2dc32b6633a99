"""The power of two choices (Mitzenmacher 2001): draw two deployments, call the less busy one.

No I/O; the time and the random numbers are arguments.
"""

from __future__ import annotations

import random

from app.dispatch.deployments.deployment import Deployment

#: Expected waits within this factor count as equal: while all are healthy, weights alone decide.
_EQUAL_WAIT_FACTOR = 2.0
_UNKNOWN_LATENCY_S = 0.1  # assumed for a call while no deployment has answered one


def draw(available: list[Deployment], rng: random.Random, now: float) -> Deployment:
    """Draw two deployments by weight; return the one with the shorter expected wait."""
    if len(available) > 1:  # in a full queue it would take the place of another request
        available = [d for d in available if not d.queue.is_full] or available
    if len(available) == 1:
        return available[0]
    weights = [d.settings.weight * d.standing.share(now) for d in available]
    first = rng.choices(available, weights)[0]
    others = [(d, w) for d, w in zip(available, weights, strict=True) if d is not first]
    second = others[0][0]
    if len(others) > 1:
        second = rng.choices([d for d, _ in others], [w for _, w in others])[0]
    averages_s = [d.standing.latency.recent_average_s(now) for d in (first, second)]
    unknown_s = min((s for s in averages_s if s is not None), default=_UNKNOWN_LATENCY_S)
    mean_weight = sum(d.settings.weight for d in available) / len(available)
    wait_s, other_wait_s = (
        _expected_wait_s(d, now, mean_weight, unknown_s) for d in (first, second)
    )
    return second if other_wait_s * _EQUAL_WAIT_FACTOR < wait_s else first


def _expected_wait_s(
    deployment: Deployment, now: float, mean_weight: float, unknown_s: float
) -> float:
    """Return the seconds until an attempt that is submitted now would be answered.

    They are the calls before it, and its own, times the seconds that a call takes. The calls before
    it are the larger of two: the deployment's own outstanding attempts, scaled
    up for a low weight, and all calls that wait at its provider. During the slow start the
    result is divided by the deployment's share, so that it is chosen less often.
    """
    own = deployment.queue.outstanding(deployment) * mean_weight / deployment.settings.weight
    before = max(own, deployment.queue.outstanding_calls)
    seconds = deployment.standing.seconds_a_call(now, unknown_s)
    return (before + 1) * seconds / deployment.standing.share(now)
