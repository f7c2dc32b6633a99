"""Invariants of the search: an item is bought once, and all its requests get it."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from app.domain import EmbeddingRequest
from tests.dispatch.arrangement import Arrangement
from tests.dispatch.asked import Asked
from tests.dispatch.internals import unpaid
from tests.dispatch.members import Seen
from tests.dispatch.operations import is_background
from tests.dispatch.rows import text_of
from tests.dispatch.simulator import Simulation
from tests.dispatch.trouble import OTHER_WIDTH

#: Seconds within which the vectors of a call must have reached the callers that wait for them.
PUBLISHED = 0.05
#: A call that is not longer was not abandoned in favour of another deployment.
SHORT = 1.0
LARGE = 2**20  # bytes of a cache without evictions

Key = tuple[str, str, str | None]


def _keys(request: EmbeddingRequest) -> set[Key]:
    return {
        (item if isinstance(item, str) else text_of(item), request.model, request.input_type)
        for item in request.items
    }


def check_shared_items(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that with caching a request ends as soon as all its items are embedded.

    Also if they were embedded for another request, a part of which failed later. Checked are only
    items of a single short call that ended while the request waited: dispatch may have abandoned
    other calls.
    """
    if not made.caching or _has_other_width(made):  # then all items are embedded again
        return
    plain = [a for a in run.asked if a.request.dimensions is None]
    came = _came(run, made, plain)
    for asked in plain:
        keys = _keys(asked.request)
        times = [came[key] for key in keys if key in came]
        assert asked.heard is not None
        if len(times) < len(keys):
            continue
        there = max(asked.at, *times)
        # A small cache may have evicted what came before the request.
        kept = made.cache_bytes >= LARGE or min(times) > asked.at
        if kept and asked.heard > there + PUBLISHED:
            what = asked.bug or asked.error or "vectors"
            late = asked.heard - there
            yield f"not published: {asked.request.items[:3]} heard {what!r} {late:.2f} s too late"


def _has_other_width(made: Arrangement) -> bool:
    """Whether a provider answers vectors of another width for some time."""
    spans = [span for provider in made.providers.values() for span in provider.spans]
    return any(trouble.words == OTHER_WIDTH for _, _, trouble in spans)


def _dropped(run: Simulation, made: Arrangement) -> set[Seen]:
    """Return the calls whose vectors were dropped: their deployment had drifted as they ended."""
    return {
        call
        for drift in made.drifts
        for call in run.members[drift.provider].seen
        if call.model == drift.model
        and call.began <= 1000 + drift.stop
        and call.ended >= 1000 + drift.start
    }


def _came(run: Simulation, made: Arrangement, plain: list[Asked]) -> dict[Key, float]:
    """Return the time when each item was embedded, for items of exactly one call."""
    dropped = _dropped(run, made)
    sent: dict[Key, list[Seen]] = defaultdict(list)
    waiting: dict[Key, list[Asked]] = defaultdict(list)
    for call in run.calls():
        for item in call.items:
            text = item if isinstance(item, str) else text_of(item)
            sent[text, call.model, call.input_type].append(call)
    for asked in plain:
        for key in _keys(asked.request):
            waiting[key].append(asked)
    mixed = {
        key
        for asked in run.asked
        if asked.request.dimensions is not None or not isinstance(asked.request.items[0], str)
        for key in _keys(asked.request)
    }  # they are other entries of the cache, for the same text
    came = {}
    for key, calls in sent.items():
        call = calls[0]
        if len(calls) > 1 or key in mixed or not call.good or call in dropped:
            continue
        if call.ended - call.began > SHORT:
            continue
        callers = [a for a in waiting[key] if a.at < call.ended]
        waited = any(a.heard is not None and a.heard >= call.ended for a in callers)
        failed = any(a.error and call.began <= (a.heard or 0) < call.ended for a in callers)
        if waited and not failed:
            came[key] = call.ended
    return came


def check_purchases(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that requests are charged what providers billed, or that it is left to later ones."""
    bought: Counter[Any] = Counter()
    for asked in run.asked:
        bought.update(getattr(asked.outcome or asked.error, "purchases", None) or {})
    for dispatcher in run.dispatchers:
        bought.update(unpaid(dispatcher))
    billed: Counter[Any] = Counter()
    for name, member in run.members.items():
        for call in member.seen:
            if not is_background(call):
                billed[name, call.model] += call.total
    for source in bought.keys() | billed.keys():
        if bought[source] > billed[source]:
            yield f"billing: {bought[source]} tokens of {source}, which billed {billed[source]}"
        elif bought[source] < billed[source]:
            yield f"billing: only {bought[source]} of the {billed[source]} tokens of {source}"
