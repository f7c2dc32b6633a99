"""Invariants of the search: the calls that an item is in."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from app.domain import Item
from app.errors import ConnectionFailed, Rejected, Throttled
from tests.dispatch.arrangement import Arrangement
from tests.dispatch.members import POISON
from tests.dispatch.rows import text_of
from tests.dispatch.simulated_provider import Seen
from tests.dispatch.simulator import HEDGES, RETRIES, SAVED, Simulation

MOST_404 = 2  # maximum calls with one item that a deployment answers with 404
REMEMBERED = 60.0  # seconds for which a refused item is remembered
BATCHED = 0.5  # seconds for which an existing batch may wait for a slot
Key = tuple[str, str, str | None]


def check_budgets(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that the extra calls of each model are within its budgets.

    Refused connections and 429 do not count, nor does the bisection of a refused batch. Requests
    that share a call share its cost. Checked only if no item is requested twice: otherwise a
    repeated item cannot be distinguished from a repeated call.
    """
    if not made.unique:
        return
    sent, owner = _sent(run), _owners(run)
    for model, settings in made.model_settings.items():
        repeated: dict[tuple[int, int], Seen] = {}
        for key, calls in sent.items():
            for call, _ in pairwise(calls if key[1] == model else ()):
                repeated[owner[key], id(call)] = call
        extra = sum(
            1 / len({owner[_key(item, call)] for item in call.items})
            for call in repeated.values()
            if not isinstance(call.error, ConnectionFailed | Rejected | Throttled)
        )
        first = run.dispatcher.first_calls[model]
        allowed = first * (RETRIES + HEDGES * settings["hedge"]) + SAVED
        if extra > allowed + 1e-6:
            yield f"budget: {extra:.1f} extra calls for {first} first calls of {model}"


def check_not_found(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that a call answered with 404 is not repeated at the same deployment."""
    if not made.unique:
        return
    for name, member in run.members.items():
        found: dict[Key, int] = defaultdict(int)
        for call in member.seen:
            if "404" in str(call.error):
                for item in call.items:
                    found[_key(item, call)] += 1
        if max(found.values(), default=0) > MOST_404:
            yield f"404: {name} was asked {max(found.values())} times for one item"


def check_guilty(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that an item that was refused alone is not merged with other requests' items.

    Checked for `REMEMBERED` seconds, from when batches that existed before have been sent.
    """
    for name, member in run.members.items():
        guilty: dict[Key, float] = {}  # when each was refused alone
        for call in member.seen:
            keys = {_key(item, call) for item in call.items}
            for key in keys & guilty.keys():
                since = call.began - guilty[key]
                if BATCHED < since < REMEMBERED and keys - _with(run, key):
                    yield f"guilty: {key[0]} shared a call to {name} {since:.1f} s after it failed"
                    return
            if (
                len(keys) == 1
                and isinstance(call.error, Rejected)
                and not call.cut  # a 400 that came after the cancellation counts as no answer
                and POISON in next(iter(keys))[0]
            ):
                guilty[next(iter(keys))] = call.ended


def _with(run: Simulation, key: Key) -> set[Key]:
    """Return the items of all requests that have an item."""
    found: set[Key] = set()
    for asked in run.asked:
        request = asked.request
        texts = {i if isinstance(i, str) else text_of(i) for i in request.items}
        if key in {(text, request.model, request.input_type) for text in texts}:
            found |= {(text, request.model, request.input_type) for text in texts}
    return found


def _key(item: Item, call: Seen) -> Key:
    return (item if isinstance(item, str) else text_of(item), call.model, call.input_type)


def _sent(run: Simulation) -> dict[Key, list[Seen]]:
    """Return the calls with each item, in the order of their start."""
    sent: dict[Key, list[Seen]] = defaultdict(list)
    for call in sorted(run.calls(), key=lambda call: call.began):
        for key in {_key(item, call) for item in call.items}:
            sent[key].append(call)
    return sent


def _owners(run: Simulation) -> dict[Key, int]:
    """Return the number of the request of each item."""
    return {
        (i if isinstance(i, str) else text_of(i), a.request.model, a.request.input_type): number
        for number, a in enumerate(run.asked)
        for i in a.request.items
    }
