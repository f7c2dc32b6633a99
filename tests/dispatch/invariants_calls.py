"""Invariants of the search: what providers see."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from app.domain import Item
from app.errors import ConnectionFailed, Rejected, Throttled
from tests.dispatch.arrangement import Arrangement
from tests.dispatch.internals import tokens_expected
from tests.dispatch.invariants_answers import is_poisoned, serving
from tests.dispatch.members import POISON, Member, Seen
from tests.dispatch.rows import text_of
from tests.dispatch.simulator import HEDGES, RETRIES, SAVED, Asked, Simulation
from tests.dispatch.trouble import IS_SILENT

WINDOW = 60.0
#: Seconds between the moment in which a call is counted and that in which the provider sees it.
MOMENT = 0.01
MOST_404 = 2  # calls with an item that one deployment answers with 404
REMEMBERED = 60.0  # seconds for which a deployment's refusal of one item alone is remembered
BATCHED = 0.5  # seconds for which a batch waits for a slot, where it was made before
SILENT = 12.0  # seconds of silence after which a deployment must be known to be silent …
EVIDENCE = 5  # … where it got so many calls in them
PROBES = 8  # calls to a silent deployment in the minute after

Key = tuple[str, str, str | None]


def _deployments(made: Arrangement) -> Iterator[tuple[str, dict[str, Any]]]:
    for model, deployments in made.models.items():
        for deployment in deployments:
            yield model, deployment


def _calls(run: Simulation, model: str, deployment: dict[str, Any]) -> list[Seen]:
    """The calls of one deployment, in the order in which they began."""
    return [call for call in run.members[deployment["provider"]].seen if call.model == model]


def check_quotas(run: Simulation, made: Arrangement) -> Iterator[str]:
    """In any 60 seconds no more requests and tokens than a deployment's settings allow."""
    for model, d in _deployments(made):
        requests, tokens = d.get("requests_per_minute"), d.get("tokens_per_minute")
        calls, member = _calls(run, model, d), run.members[d["provider"]]
        first = worst = worst_tokens = 0
        for last, call in enumerate(calls if requests or tokens else ()):
            while calls[first].began <= call.began - WINDOW + MOMENT:
                first += 1
            worst = max(worst, last + 1 - first)
            if last > first:  # one that is too large goes alone
                taken = sum(_tokens(member, c, call.began) for c in calls[first : last + 1])
                worst_tokens = max(worst_tokens, taken)
        label = f"{d['provider']}/{model}"
        if requests and worst > requests:
            yield f"quota: {label} got {worst} calls in a minute, of {requests}"
        if tokens and worst_tokens > tokens:
            yield f"quota: {label} got {worst_tokens} tokens in a minute, of {tokens}"


def _tokens(member: Member, call: Seen, now: float) -> int:
    """Tokens that a call counts for at a later time: the real ones once it has ended.

    Before, the least that dispatch can have expected.
    """
    if call.ended < now - MOMENT:
        return call.total
    return member.least_tokens(call.items)


def check_quota_refusals(run: Simulation, made: Arrangement) -> Iterator[str]:
    """No caller is refused for a quota of which calls have not used half, where all are well."""
    for asked in run.asked:
        refused = asked.code in ("rate_limit_exceeded", "no_provider_available")
        if not refused or is_poisoned(asked.request):
            continue
        for d in serving(made, asked.request):
            if d["provider"] not in made.ill and _has_room(run, d, asked):
                yield f"refused: {asked.code} while half of the quota of {d['provider']} was free"


def _has_room(run: Simulation, d: dict[str, Any], asked: Asked) -> bool:
    assert asked.heard is not None
    member, now, wanted = run.members[d["provider"]], asked.heard, asked.request.items
    share = d.get("tokens_per_minute", float("inf"))
    calls = [
        c
        for c in _calls(run, asked.request.model, d)
        # A minute is counted a little longer, and a call over the limit for more than one.
        if now - (WINDOW + 0.3) * max(1, c.total / share) < c.began <= now
    ]
    tokens = sum(max(c.total, member.tokens(c.items), tokens_expected(c.items)) for c in calls)
    tokens += max(member.tokens(wanted), tokens_expected(wanted))
    no_limit = float("inf")
    return (
        2 * (len(calls) + 1) < d.get("requests_per_minute", no_limit)
        and 2 * tokens < d.get("tokens_per_minute", no_limit)
        and len(wanted) <= d.get("max_inputs", no_limit)
    )


def check_rests(run: Simulation, made: Arrangement) -> Iterator[str]:
    """A deployment that answers 429 with Retry-After is left alone, but for some probes."""
    for model, d in _deployments(made):
        throttled = [c for c in _calls(run, model, d) if isinstance(c.error, Throttled)]
        worst: tuple[float, str] = (0, "")
        for call in throttled:
            rest = call.error.retry_after or 0.0  # type: ignore[union-attr]
            during = sum(call.ended + MOMENT < c.began < call.ended + rest for c in throttled)
            text = f"{d['provider']}/{model} got {during} calls in {rest:.1f} s that it asked for"
            if rest >= 1 and during > 3 + rest / 2:
                worst = max(worst, (during, f"rest: {text}"))
        if worst[1]:
            yield worst[1]


def check_budgets(run: Simulation, made: Arrangement) -> Iterator[str]:
    """The extra calls of each model are within its budgets.

    A refused connection and a 429 cost a provider nothing, and a refused batch is bisected: that is
    no retry. Requests that left in one call share the price of one. Only where no item is asked for
    twice, since else a repeated item is not to be told from a repeated call.
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
    """What a provider answers with 404 is not asked there again and again."""
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
    """An item that a deployment has refused alone does not share a call with others' items again.

    Not for a while: `REMEMBERED` seconds are looked at, from when batches that had been made before
    have left.
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
                and POISON in next(iter(keys))[0]
            ):
                guilty[next(iter(keys))] = call.ended


def _with(run: Simulation, key: Key) -> set[Key]:
    """The items of the requests that have an item."""
    found: set[Key] = set()
    for asked in run.asked:
        request = asked.request
        texts = {i if isinstance(i, str) else text_of(i) for i in request.items}
        if key in {(text, request.model, request.input_type) for text in texts}:
            found |= {(text, request.model, request.input_type) for text in texts}
    return found


def check_silence(run: Simulation, made: Arrangement) -> Iterator[str]:
    """A deployment that has been silent for a while is not asked, while another is well."""
    for model, d in _deployments(made):
        if not any(o["provider"] not in made.ill and o is not d for o in made.models[model]):
            continue
        for start, stop, trouble in made.providers[d["provider"]].spans:
            calls = [
                c.began
                for c in _calls(run, model, d)
                if trouble.words == IS_SILENT and 1000 + start <= c.began < 1000 + stop
            ]
            known = calls[0] + SILENT if calls else float("inf")
            if sum(began < known for began in calls) < EVIDENCE:
                continue
            later = sum(began >= known for began in calls)
            asked = sum(a.request.model == model and known <= a.at < 1000 + stop for a in run.asked)
            if later > PROBES + 0.05 * asked:
                yield f"silence: {later} calls for {asked} requests to silent {d['provider']}"


def _key(item: Item, call: Seen) -> Key:
    return (item if isinstance(item, str) else text_of(item), call.model, call.input_type)


def _sent(run: Simulation) -> dict[Key, list[Seen]]:
    """The calls that had each item in them, in the order in which they began."""
    sent: dict[Key, list[Seen]] = defaultdict(list)
    for call in sorted(run.calls(), key=lambda call: call.began):
        for key in {_key(item, call) for item in call.items}:
            sent[key].append(call)
    return sent


def _owners(run: Simulation) -> dict[Key, int]:
    """The request that each item is of, by its number."""
    return {
        (i if isinstance(i, str) else text_of(i), a.request.model, a.request.input_type): number
        for number, a in enumerate(run.asked)
        for i in a.request.items
    }
