"""Invariants of the search: calls to providers."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from app.dispatch.quotas.quota import MAX_WAIT_S
from app.domain import Item
from app.errors import ConnectionFailed, Rejected, Throttled
from tests.dispatch.arrangement import Arrangement
from tests.dispatch.asked import Asked
from tests.dispatch.internals import tokens_expected
from tests.dispatch.invariants_answers import is_poisoned, serving
from tests.dispatch.members import POISON, Member, Seen
from tests.dispatch.operations import is_background
from tests.dispatch.rows import text_of
from tests.dispatch.simulator import HEDGES, RETRIES, SAVED, Simulation
from tests.dispatch.trouble import IS_SILENT

WINDOW = 60.0
#: Maximum seconds from counting a call until its provider sees it.
MOMENT = 0.01
MOST_404 = 2  # maximum calls with one item that a deployment answers with 404
REMEMBERED = 60.0  # seconds for which a refused item is remembered
BATCHED = 0.5  # seconds for which an existing batch may wait for a slot
SILENT = 12.0  # seconds after which a silent deployment must be ejected …
EVIDENCE = 5  # … if it got this number of calls
PROBES = 8  # maximum calls to a silent deployment in the minute after

Key = tuple[str, str, str | None]


def _deployments(made: Arrangement) -> Iterator[tuple[str, dict[str, Any]]]:
    for model, deployments in made.models.items():
        for deployment in deployments:
            yield model, deployment


def _calls(run: Simulation, model: str, deployment: dict[str, Any]) -> list[Seen]:
    """Return the calls of one deployment in the order of their start."""
    return [call for call in run.members[deployment["provider"]].seen if call.model == model]


def check_quotas(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check requests and tokens of each 60 seconds against the limits of a deployment."""
    for model, d in _deployments(made):
        requests, tokens = d.get("requests_per_minute"), d.get("tokens_per_minute")
        calls, member = _calls(run, model, d), run.members[d["provider"]]
        first = worst = worst_tokens = 0
        for last, call in enumerate(calls if requests or tokens else ()):
            while calls[first].began <= call.began - WINDOW + MOMENT:
                first += 1
            worst = max(worst, last + 1 - first)
            if last > first:  # a call that is too large is sent alone
                taken = sum(_tokens(member, c, call.began) for c in calls[first : last + 1])
                worst_tokens = max(worst_tokens, taken)
        label = f"{d['provider']}/{model}"
        if requests and worst > requests:
            yield f"quota: {label} got {worst} calls in a minute, of {requests}"
        # Of each worker, the first call of a minute may be larger than its share.
        if tokens and worst_tokens > tokens and made.workers == 1:
            yield f"quota: {label} got {worst_tokens} tokens in a minute, of {tokens}"


def _tokens(member: Member, call: Seen, now: float) -> int:
    """Return the tokens that a call counts for: the real ones once it has ended.

    Before that, the least that dispatch can have expected.
    """
    if call.ended < now - MOMENT:
        return call.total
    return member.least_tokens(call.items)


def check_quota_refusals(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no request is refused for a quota that is less than half used, without faults.

    After a 400 that may be the provider's fault another one is asked within the retry budget only.
    """
    for asked in run.asked if made.workers == 1 else ():
        refused = asked.code in ("rate_limit_exceeded", "no_provider_available")
        if not refused or is_poisoned(asked.request) or _was_refused(run, asked):
            continue
        for d in serving(made, asked.request):
            if d["provider"] not in made.ill and _has_room(run, d, asked):
                yield f"refused: {asked.code} while half of the quota of {d['provider']} was free"


def check_short_waits(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no request is refused for a quota that has room before it would end anyway."""
    for asked in run.asked:
        could = serving(made, asked.request)
        if asked.code != "rate_limit_exceeded" or any(d["provider"] in made.ill for d in could):
            continue
        assert asked.heard is not None
        assert asked.error is not None
        wait = asked.error.retry_after or 0.0
        if wait < min(MAX_WAIT_S, asked.at + asked.request.timeout - asked.heard):
            yield f"refused: {asked.request.items[:3]} for {wait:.2f} s in which it might wait"


def _was_refused(run: Simulation, asked: Asked) -> bool:
    """Whether a provider answered 400 to an item of a request meanwhile."""
    items, heard = asked.request.items, asked.heard or asked.at
    return any(
        isinstance(call.error, Rejected) and any(item in items for item in call.items)
        for call in run.calls()
        if asked.at <= call.began <= heard
    )


def _has_room(run: Simulation, d: dict[str, Any], asked: Asked) -> bool:
    assert asked.heard is not None
    member, now, wanted = run.members[d["provider"]], asked.heard, asked.request.items
    share = d.get("tokens_per_minute", float("inf"))
    calls = [
        c
        for c in _calls(run, asked.request.model, d)
        # A minute is counted a little longer, and a call over the limit for more than one.
        # Later ones may have waited in the queue.
        if now - (WINDOW + 0.3) * max(1, _counted(member, c) / share) < c.began <= now + WINDOW
    ]
    tokens = sum(_counted(member, c) for c in calls)
    tokens += max(member.tokens(wanted), tokens_expected(wanted))
    no_limit = float("inf")
    return (
        2 * (len(calls) + 1) < d.get("requests_per_minute", no_limit)
        and 2 * tokens < d.get("tokens_per_minute", no_limit)
        and len(wanted) <= d.get("max_inputs", no_limit)
    )


def _counted(member: Member, call: Seen) -> int:
    """Return the most tokens that a quota can count for a call, refused ones included."""
    return max(call.total, member.tokens(call.items), tokens_expected(call.items))


def check_rests(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that a deployment with 429 and Retry-After gets only probes until then.

    Calls in the background change nothing for requests. Of several workers, one that has heard of
    no rest may call a model's only deployment at any time.
    """
    for model, d in _deployments(made):
        calls = [call for call in _calls(run, model, d) if not is_background(call)]
        throttled = [call for call in calls if isinstance(call.error, Throttled)]
        worst: tuple[float, str] = (0, "")
        for call in throttled:
            rest = call.error.retry_after or 0.0  # type: ignore[union-attr]
            during = sum(
                call.ended + MOMENT < c.began < call.ended + rest
                for c in throttled
                if made.workers == 1 or c.error.retry_after is not None  # type: ignore[union-attr]
            )
            text = f"{d['provider']}/{model} got {during} calls in {rest:.1f} s that it asked for"
            if rest >= 1 and during > made.workers * (3 + rest / 2):
                worst = max(worst, (during, f"rest: {text}"))
        if worst[1]:
            yield worst[1]


def check_budgets(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that the extra calls of each model are within its budgets.

    Refused connections and 429 do not count, nor does the bisection of a refused batch. Requests
    that share a call share its cost. Checked only if no item is requested twice: otherwise a
    repeated item cannot be distinguished from a repeated call.
    """
    if not made.unique:
        return
    sent, owner = _sent(run), owners(run)
    for model, settings in made.model_settings.items():
        repeated: dict[tuple[int, int], Seen] = {}
        for key, calls in sent.items():
            for call, _ in pairwise(calls if key[1] == model else ()):
                repeated[owner[key], id(call)] = call
        extra = sum(
            1 / len({owner[key_of(item, call)] for item in call.items})
            for call in repeated.values()
            if not isinstance(call.error, ConnectionFailed | Rejected | Throttled)
        )
        first = sum(dispatcher.first_calls[model] for dispatcher in run.dispatchers)
        allowed = first * (RETRIES + HEDGES * settings["hedge"]) + SAVED * made.workers
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
                    found[key_of(item, call)] += 1
        if max(found.values(), default=0) > MOST_404:
            yield f"404: {name} was asked {max(found.values())} times for one item"


def check_guilty(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that an item that was refused alone is not merged with other requests' items.

    Checked for `REMEMBERED` seconds, from when batches that existed before have been sent.
    """
    for name, member in run.members.items() if made.workers == 1 else ():
        guilty: dict[Key, float] = {}  # when each was refused alone
        for call in member.seen:
            keys = {key_of(item, call) for item in call.items}
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


def check_silence(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that a silent deployment gets no calls while another one answers."""
    for model, d in _deployments(made):
        if not any(o["provider"] not in made.ill and o is not d for o in made.models[model]):
            continue
        for start, stop, trouble in made.providers[d["provider"]].spans:
            seen = [
                c
                for c in _calls(run, model, d)
                if trouble.words == IS_SILENT and 1000 + start <= c.began < 1000 + stop
            ]
            if not seen:
                continue
            calls = [c.began for c in seen]
            # A 400 to a bad text is an answer.
            answers = [c.ended for c in seen if isinstance(c.error, Rejected) and not c.cut]
            known = max([calls[0], *answers]) + SILENT
            if sum(began < known for began in calls) < EVIDENCE:
                continue
            later = sum(began >= known for began in calls)
            asked = [
                a.request
                for a in run.asked
                if a.request.model == model and known <= a.at < 1000 + stop
            ]
            # The only deployment that can serve a request is called with any health.
            only = sum(serving(made, request) == [d] for request in asked)
            if later > PROBES + 0.05 * len(asked) + only:
                yield f"silence: {later} calls for {len(asked)} requests to silent {d['provider']}"


def key_of(item: Item, call: Seen) -> Key:
    return (item if isinstance(item, str) else text_of(item), call.model, call.input_type)


def _sent(run: Simulation) -> dict[Key, list[Seen]]:
    """Return the calls with each item, in the order of their start."""
    sent: dict[Key, list[Seen]] = defaultdict(list)
    for call in sorted(run.calls(), key=lambda call: call.began):
        for key in {key_of(item, call) for item in call.items}:
            sent[key].append(call)
    return sent


def owners(run: Simulation) -> dict[Key, int]:
    """Return the number of the request of each item."""
    return {
        (i if isinstance(i, str) else text_of(i), a.request.model, a.request.input_type): number
        for number, a in enumerate(run.asked)
        for i in a.request.items
    }
