"""The share that each worker has of a ``concurrency``. Pure.

Workers do not know which other workers run, so the division is fixed: a remainder is used by none.
"""

from __future__ import annotations

from app.config import Settings


def calls_of_worker(concurrency: int, workers: int) -> int:
    """Return how many calls at once one of so many workers may make: at least one."""
    return max(1, concurrency // workers)


def exceeded_limits(settings: Settings) -> list[str]:
    """Return the limits of calls at once that all workers together exceed, as their settings."""
    limits = dict[str, int]()
    for model in settings.models.values():
        for number, deployment in enumerate(model.deployments):
            name = deployment.provider
            limits[f"PROVIDERS[{name!r}]"] = settings.providers[name].max_concurrency
            place = f"MODELS[{model.name!r}]['deployments'][{number}]"
            limits[place] = deployment.concurrency or settings.workers
    return [
        f"{place}['concurrency'] ({limit})"
        for place, limit in limits.items()
        if limit < settings.workers
    ]
