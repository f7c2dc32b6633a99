"""Invariants of the search: recovery after the last fault."""

from collections.abc import Iterator

from tests.dispatch.arrangement import Arrangement
from tests.dispatch.asked import Asked
from tests.dispatch.invariants_answers import is_limited, serving
from tests.dispatch.simulator import Simulation

SHORT_QUEUE = 100  # requests that may wait: with fewer, flex may lose its place to others
SLOWEST_CALL = 1.2  # of the seconds that a provider needs: see `members.good`
QUICK = 3.0  # maximum seconds of a request without faults, in addition to its calls


def check_recovery(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that the last wave succeeds quickly, and that a burst of 429 has no later effect."""
    slowest = max(provider.longest_short_call() for provider in made.providers.values())
    for ask, asked in zip(made.asks, run.asked, strict=True):
        if asked.heard is None or not serving(made, asked.request):
            continue
        if ask.phase == "last" and _is_bulk(made, asked):
            yield from _check_bulk(made, asked)
            continue
        if not _has_no_quota(made, asked):
            continue
        if ask.phase == "soon" and asked.code == "rate_limit_exceeded":
            yield f"burst: {asked.code} {asked.at - 1000:.1f} s after the start"
        if ask.phase != "last" or _is_overloaded(made, ask.model):
            continue
        if asked.code == "overloaded" and _may_be_filled(made, ask.model):
            continue
        took = asked.heard - asked.at
        if asked.outcome is None:
            yield f"recovery: {asked.bug or asked.error!r} after the trouble"
        elif took > QUICK + 2 * SLOWEST_CALL * slowest:
            yield f"recovery: a request took {took:.1f} s after the trouble"


def _has_no_quota(made: Arrangement, asked: Asked) -> bool:
    """Return whether no quota can refuse a request at a provider without faults.

    A deployment that had faults may be excluded during its probe. One whose slots another worker
    has counts as busy, so that a request may wait for the quota of another deployment.
    """
    could = serving(made, asked.request)
    free = [d for d in could if not is_limited(d)]
    if len(free) == len(could):
        return True
    return made.workers == 1 and any(d["provider"] not in made.ill for d in free)


def _is_bulk(made: Arrangement, asked: Asked) -> bool:
    """Return whether a request waits for a quota, although others would not: that of tier flex."""
    could = serving(made, asked.request)
    return asked.request.flow.tier == "flex" and any(map(is_limited, could))


def _check_bulk(made: Arrangement, asked: Asked) -> Iterator[str]:
    """Check that a request of tier flex waits for its quota until its deadline, and no shorter.

    What better tiers leave may come too late: then it is a 504, or a 429 with a later time. In a
    short queue it may lose its place, which is a 503. Deployments that had faults may be excluded
    during their probe.
    """
    assert asked.heard is not None
    could = {deployment["provider"] for deployment in serving(made, asked.request)}
    if could & made.ill and not _has_no_quota(made, asked):
        return
    error, ends_at = asked.error, asked.at + asked.request.timeout
    if error is None or asked.code == "timeout":
        return
    is_late = (
        asked.code == "rate_limit_exceeded" and asked.heard + (error.retry_after or 0) >= ends_at
    )
    if not is_late and not (asked.code == "overloaded" and made.waiting < SHORT_QUEUE):
        yield f"bulk: {asked.error!r} for a request that could wait until {ends_at - 1000:.1f}"


def _is_overloaded(made: Arrangement, model: str) -> bool:
    """Return whether a request of the last wave waits for a slot, though all deployments are well.

    Or whether more wait than may: then a flow loses a request to others, which is a 503. Providers
    that merge serve any number of short requests, unless a call takes longer with more items. Each
    request counts as one call, of whatever model.
    """
    calls_per_s = 0.0
    for name in {deployment["provider"] for deployment in made.models[model]}:
        provider = made.providers[name]
        if provider.settings.get("merge", True) and not provider.seconds_an_item:
            return False
        slots = provider.settings.get("concurrency", 64)
        slots = slots if isinstance(slots, int) else slots.least
        calls_per_s += slots / provider.longest_short_call()
    free_at = 0.0
    for after in sorted(ask.after for ask in made.asks if ask.phase == "last"):
        waits_s = free_at - after
        if waits_s > QUICK or waits_s * calls_per_s > made.waiting:
            return True
        free_at = max(free_at, after) + 1 / calls_per_s
    return False


def _may_be_filled(made: Arrangement, model: str) -> bool:
    """Return whether requests that wait for another model's quota may fill a queue of this one."""
    providers = {deployment["provider"] for deployment in made.models[model]}
    waiting = {
        name
        for name, deployments in made.models.items()
        if name != model and any(is_limited(d) and d["provider"] in providers for d in deployments)
    }
    items = sum(len(ask.items) for ask in made.asks if ask.model in waiting)
    return items >= made.waiting


def check_shares(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that each deployment gets calls again after the last fault."""
    if made.theme != "share":
        return
    start = min(
        asked.at for ask, asked in zip(made.asks, run.asked, strict=True) if ask.phase == "back"
    )
    for model, deployments in made.models.items():
        for d in deployments:
            calls = run.members[d["provider"]].seen
            if not any(c.model == model and c.began > start for c in calls):
                yield f"lost: {d['provider']}/{model} was never asked again after the trouble"
