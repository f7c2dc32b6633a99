"""The states of deployments as all workers see them, as one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.observability.live.ring import Labels

#: States of deployments, the worst last.
STATES = ("ok", "resting", "ejected", "drifted")


def merge_reports(
    reports: Iterable[Sequence[dict[str, Any]]], hour: Mapping[Labels, float]
) -> list[dict[str, Any]]:
    """Return the models with their deployments, from `Dispatcher.report` of each worker.

    Numbers of calls, slots and quotas are added up; a share and a latency are averages. ``hour``
    has the sums of the last hour.
    """
    seen: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    spaces: dict[str, str] = {}
    for report in reports:
        repeated = Counter[tuple[Any, ...]]()
        for one in report:
            place = one["model"], one["provider"], one["deployment"], one["tier"]
            repeated[place] += 1  # settings may name a deployment twice
            seen.setdefault((*place, repeated[place]), []).append(one)
            spaces.setdefault(one["model"], one["space"])
    models: dict[str, list[dict[str, Any]]] = {name: [] for name in spaces}
    calls = Counter[str]()  # of the last hour, by model
    for labels, number in hour.items():
        if labels[0] == "calls":
            calls[labels[1]] += int(number)
    for place, states in seen.items():
        name = place[0]
        models[name].append({**_merged(states), **_calls(hour, place[:3], calls[name])})
    return [
        {"model": name, "space": spaces[name], "deployments": deployments}
        for name, deployments in models.items()
    ]


def _calls(hour: Mapping[Labels, float], source: Labels, of_model: float) -> dict[str, Any]:
    """Return a deployment's calls of the last hour, its share of the model's, and failures."""
    calls = hour.get(("calls", *source), 0)
    return {
        "calls_hour": int(calls),
        "calls_share": round(calls / of_model, 3) if of_model else None,
        "failed_hour": int(hour.get(("failed", *source), 0)),
    }


def _merged(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of one deployment, from what each worker says of it."""
    first = states[0]
    counted = Counter[str](one["state"] for one in states)
    waits = _known(states, "retry_in_seconds")
    latencies, errors = _known(states, "latency_ms"), _known(states, "last_error")
    agreements = _known(states, "agreement")
    return {
        **{name: first[name] for name in ("provider", "deployment", "tier", "weight")},
        "state": max(counted, key=STATES.index),
        "workers_by_state": {state: counted[state] for state in STATES if counted[state]},
        "retry_in_seconds": max(waits, default=None),
        "share": round(sum(one["share"] for one in states) / len(states), 3),
        "latency_ms": round(sum(latencies) / len(latencies), 2) if latencies else None,
        **{
            name: sum(one[name] for one in states)
            for name in ("in_flight", "concurrency", "outstanding", "ejections")
        },
        "concurrency_is_auto": first["concurrency_is_auto"],
        "quota": _quota(_known(states, "quota")),
        "last_error": errors[0] if errors else None,
        "agreement": max(agreements, key=lambda found: found["checked_at"], default=None),
    }


def _quota(quotas: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not quotas:
        return None
    return {
        name: sum(_known(quotas, name)) if _known(quotas, name) else None
        for name in ("requests_left", "tokens_left")
    }


def _known(states: Iterable[dict[str, Any]], name: str) -> list[Any]:
    """Return the values of a field, without those that are not known."""
    return [one[name] for one in states if one[name] is not None]
