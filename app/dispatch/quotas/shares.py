"""The share that each worker has of a ``concurrency`` and of a quota. Pure.

Without a store, workers do not know which other workers run, so the division is fixed: a remainder
is used by none.
"""

from __future__ import annotations

from app.config import DeploymentSettings, Settings
from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.quota import Quota


def calls_of_worker(concurrency: int, workers: int) -> int:
    """Return how many calls at once one of so many workers may make: at least one."""
    return max(1, concurrency // workers)


def quota_of_worker(
    settings: DeploymentSettings, worker_share: float, is_leased: bool = False
) -> Quota:
    """Return the quota of one worker: a fixed share of the whole, or a lease of it."""
    limits = settings.requests_per_minute, settings.tokens_per_minute
    if is_leased and limits != (None, None):
        return LeasedQuota(*limits, round(1 / worker_share))
    requests, tokens = (None if limit is None else limit * worker_share for limit in limits)
    quota = Quota(requests, tokens)
    quota.members = round(1 / worker_share)
    return quota


def leases_slots(settings: Settings, provider: str, has_host_store: bool = False) -> bool:
    """Whether workers lease the slots of a provider from a store, and have no share of them.

    The store is the server of ``LIMITS``, or a file of this host that its workers share. Not leased
    are the slots of a ``concurrency`` of "auto", whose number is not known, and those of kind
    ``local``, whose model runs in each worker.
    """
    provider_settings = settings.providers[provider]
    is_number = isinstance(provider_settings.concurrency, int)
    has_store = has_host_store or settings.limits.url is not None
    return is_number and provider_settings.kind != "local" and has_store


def exceeded_limits(settings: Settings, has_host_store: bool = False) -> list[str]:
    """Return the limits of calls at once that all workers together exceed, as their settings."""
    limits = dict[str, int]()
    for model in settings.models.values():
        for position, deployment in enumerate(model.deployments):
            name = deployment.provider
            if not leases_slots(settings, name, has_host_store):
                limits[f"PROVIDERS[{name!r}]"] = settings.providers[name].max_concurrency
            setting = f"MODELS[{model.name!r}]['deployments'][{position}]"
            limits[setting] = deployment.concurrency or settings.workers
    return [
        f"{setting}['concurrency'] ({limit})"
        for setting, limit in limits.items()
        if limit < settings.workers
    ]
