"""The figures of a run: waits of requests by key and tier, and the use of providers. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from app.auth.authenticator import caller_of
from app.cli.simulation.run import Run
from app.cli.simulation.traffic import AnsweredRequest, caller_number

#: What is shown of times: the shares of requests that took no longer.
PERCENTILES = (50, 95, 99)
Group = tuple[str, str]  # a key and a service tier


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Of the requests of a key in a service tier that were in progress in the time that counts.

    Times are those of answered requests, in milliseconds by percentile; empty where none was
    answered.
    """

    key: str
    tier: str
    requests: int
    texts_per_second: float
    share_of_texts: float
    queue_ms: dict[int, float]
    total_ms: dict[int, float]
    errors: dict[str, int]  # by code


@dataclass(frozen=True, slots=True)
class ProviderFigures:
    """Of the calls of a provider."""

    name: str
    calls: int
    texts_per_call: float
    slots: int
    slots_used: float  # share of the time
    call_takes: str


def group_figures(run: Run) -> list[GroupFigures]:
    """Return the figures of each key and tier, in the order of the load."""
    groups = _groups(run)
    requests: dict[Group, list[AnsweredRequest]] = {group: [] for group in groups}
    for request in run.requests:
        if request.arrived_at < run.ends_at and request.ended_at >= run.starts_at:
            requests[groups[request.caller]].append(request)
    texts = _texts(run, groups)
    all_texts = sum(texts.values()) or 1
    return [
        GroupFigures(
            key=group[0],
            tier=group[1],
            requests=len(found),
            texts_per_second=texts[group] / run.seconds,
            share_of_texts=texts[group] / all_texts,
            queue_ms=_percentiles([one.queue_s for one in found if one.queue_s is not None]),
            total_ms=_percentiles(
                [one.ended_at - one.arrived_at for one in found if one.code is None]
            ),
            errors=dict(sorted(Counter(one.code for one in found if one.code).items())),
        )
        for group, found in requests.items()
    ]


def provider_figures(run: Run) -> list[ProviderFigures]:
    """Return the figures of each provider that was called."""
    found = []
    for name, provider in run.providers.items():
        calls = [c for c in provider.calls if run.starts_at <= c.ended_at < run.ends_at]
        busy_s = sum(
            max(0.0, min(c.ended_at, run.ends_at) - max(c.started_at, run.starts_at))
            for c in provider.calls
        )
        texts, slots = sum(sum(c.texts.values()) for c in calls), run.slots(name)
        if provider.calls:
            used = busy_s / (slots * run.seconds)
            mean = texts / len(calls) if calls else 0.0
            takes = str(provider.seconds)
            found.append(ProviderFigures(name, len(calls), mean, slots, used, takes))
    return found


def _groups(run: Run) -> list[Group]:
    """Return the key and the service tier of each caller of the load."""
    keys = run.settings.keys
    return [(c.key, c.tier or caller_of(keys[c.key]).service_tier) for c in run.load.callers]


def _texts(run: Run, groups: Sequence[Group]) -> dict[Group, int]:
    """Return the texts that providers have embedded in the time that counts."""
    texts: dict[Group, int] = defaultdict(int)
    for provider in run.providers.values():
        for call in provider.calls:
            if run.starts_at <= call.ended_at < run.ends_at:
                for text, number in call.texts.items():
                    texts[groups[caller_number(text)]] += number
    return texts


def _percentiles(seconds: Sequence[float]) -> dict[int, float]:
    """Return percentiles in milliseconds, by nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    places = {p: math.ceil(p / 100 * len(ordered)) - 1 for p in PERCENTILES}
    return {p: 1000 * ordered[place] for p, place in places.items()}
