"""The state of a deployment for the operator's report, ``GET /v1/providers``."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.quotas.quota import Quota


def state_of(model: str, space: str, d: Deployment, now: float) -> dict[str, Any]:
    """Return the state of a deployment as this worker sees it."""
    return {
        "model": model,
        "space": space,
        "provider": d.name,
        "deployment": d.settings.model,
        "tier": d.settings.tier,
        "weight": d.settings.weight,
        "share": round(d.standing.share(now), 3),
        "state": d.standing.state(now),
        "retry_in_seconds": _finite(d.standing.wait(now)),
        "in_flight": d.standing.in_flight,
        "concurrency": d.queue.concurrency,
        "concurrency_is_auto": d.queue.adaptive is not None,
        "concurrency_is_leased": d.queue.is_leased,
        "quota": _quota(d.quota, now),
        "outstanding": d.queue.outstanding(d),
        "latency_ms": _ms(d.standing.latency.average),
        "ejections": d.health.ejections_ever,
        "last_error": d.health.last_error,
        "agreement": d.agreement and asdict(d.agreement),
    }


def _quota(quota: Quota, now: float) -> dict[str, Any] | None:
    """Return what this worker may use of a quota now; None where there is none."""
    if not quota.is_limited:
        return None
    calls, tokens = (
        int(left) if math.isfinite(left) else None for left in quota.calls_and_tokens_left(now)
    )
    return {"is_leased": quota.is_leased, "requests_left": calls, "tokens_left": tokens}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _finite(seconds: float) -> float | None:
    """Return rounded seconds; None for ever."""
    return round(seconds, 3) if math.isfinite(seconds) else None
