"""Invariants of the search: answers to callers."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from app.concurrency.peer import CLIENT_LOOK_S
from app.domain import EmbeddingRequest
from app.errors import BadRequest, ClientClosedRequest, InternalError
from tests.dispatch.arrangement import Arrangement
from tests.dispatch.asked import GRACE, Asked
from tests.dispatch.asks import NOT_TEXT
from tests.dispatch.members import POISON, Seen
from tests.dispatch.rows import WIDTH, row, text_of
from tests.dispatch.simulator import Simulation
from tests.dispatch.trouble import REFUSES_ALL
from tests.dispatch.virtual import LATE

#: A 400 is trusted at once from a deployment that has served other requests lately. So this many
#: callers may get a wrong 400 each time a deployment begins to answer 400 to everything; or as many
#: as it has calls in flight then.
TRUSTED_400S = 10
IDLE = 0.05  # seconds without a call in flight, after which a provider counts as idle


def check_answers(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that each request ends once, by its deadline, with its vectors or an expected error."""
    for asked in run.asked:
        request = asked.request
        if asked.heard is None:
            yield f"unanswered: {request.items[:3]}"
            continue
        late = asked.heard - asked.at - request.timeout
        if late > GRACE:
            yield f"late: {request.items[:3]} by {late:.3f} s"
        if asked.bug is not None or isinstance(asked.error, InternalError):
            yield f"500: {asked.bug or asked.error!r} for {request.items[:3]}"
        if asked.outcome is not None:
            yield from _check_rows(asked, made)


def _check_rows(asked: Asked, made: Arrangement) -> Iterator[str]:
    assert asked.outcome is not None
    request, rows = asked.request, asked.outcome.vectors.rows
    told = f"of {len(request.items)} (cache: {asked.outcome.cache})"
    if len(rows) != len(request.items) or len(asked.outcome.vectors.tokens) != len(rows):
        yield f"row missing: {len(rows)} rows {told}"
        return
    empty = sum(1 for found in rows if not found)
    if empty:
        yield f"row empty: {empty} rows {told}"
        return
    widths = {len(found) // 4 for found in rows}
    if len(widths) > 1:
        yield f"width: an answer with vectors of {sorted(widths)} values"
    wanted = request.dimensions or WIDTH
    if widths != {wanted} and not (
        request.dimensions is None and made.width_is_unsure(request.model)
    ):
        yield f"width: {sorted(widths)} instead of {wanted}"
    wrong = sum(
        found != row(item, request.input_type, len(found) // 4)
        for found, item in zip(rows, request.items, strict=True)
    )
    if wrong:
        yield f"row wrong: {wrong} rows {told} are those of other items"


def could_serve(made: Arrangement, deployment: dict[str, Any], request: EmbeddingRequest) -> bool:
    """Return whether a deployment takes the width and the token ids of a request."""
    model, takes = made.model_settings[request.model], made.providers[deployment["provider"]].takes
    width = request.dimensions
    has_width = width is None or takes.dimensions or width == model["dimensions"]
    if not has_width and not (model["matryoshka"] and width <= model["dimensions"]):
        return False
    if not has_short_items(made, deployment, request):
        return False
    if isinstance(request.items[0], str) or takes.tokens:
        return True
    readable = not any(NOT_TEXT in item for item in request.items)
    return request.model in made.tokenizers and readable


def has_short_items(
    made: Arrangement, deployment: dict[str, Any], request: EmbeddingRequest
) -> bool:
    """Return whether a deployment takes items as long as those of a request."""
    limit = deployment.get("max_item_tokens")
    if limit is None:
        return True
    tokenizer, takes = made.tokenizers[request.model], made.providers[deployment["provider"]].takes
    if takes.tokens and not isinstance(request.items[0], str):
        return max(map(len, request.items)) <= limit
    return max(tokenizer.count(request.items)) + tokenizer.special_tokens <= limit


def serving(made: Arrangement, request: EmbeddingRequest) -> list[dict[str, Any]]:
    """Return the deployments that could serve a request without faults."""
    return [d for d in made.models[request.model] if could_serve(made, d, request)]


def is_poisoned(request: EmbeddingRequest) -> bool:
    return any(POISON in item for item in request.items if isinstance(item, str))


def check_refusals(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no good request gets a 400 while at most one deployment refuses everything.

    A 400 of two deployments is trusted.
    """
    refused = Counter[str]()
    for asked in run.asked:
        if not isinstance(asked.error, BadRequest) or is_poisoned(asked.request):
            continue
        could = serving(made, asked.request)
        would = sum(_would_serve(made, d, asked) for d in could)
        if would and would >= len(could) - 1:
            refused[asked.request.model] += 1
    for model, number in refused.items():
        if number > _trusted_400s(run, made, model):
            yield f"400: for {number} requests of {model} that were right"


def _would_serve(made: Arrangement, deployment: dict[str, Any], asked: Asked) -> bool:
    """Return whether a deployment did not yet refuse everything when a request ended."""
    assert asked.heard is not None
    return all(
        1000 + start > asked.heard
        for start, _, trouble in made.providers[deployment["provider"]].spans
        if trouble.words == REFUSES_ALL
    )


def _trusted_400s(run: Simulation, made: Arrangement, model: str) -> int:
    """Return how many 400s are trusted of deployments that begin to refuse everything.

    Those of a deployment that has served no request before are not trusted.
    """
    trusted = 0
    for d in made.models[model]:
        seen = [c for c in run.members[d["provider"]].seen if c.model == model]
        for start, stop, trouble in made.providers[d["provider"]].spans:
            began = start + 1000
            # Vectors that came as their call was cut show, too, that it serves such requests.
            if trouble.words == REFUSES_ALL and any(c.total and c.began < began for c in seen):
                in_flight = _most_in_flight(seen, began, stop + 1000)
                trusted += made.workers * max(TRUSTED_400S, in_flight)
    return trusted


def _most_in_flight(calls: list[Seen], start: float, stop: float) -> int:
    """Return the most calls that were in flight at once at the end of one of them.

    A call counts as in flight from the start of its thread to its end, a little longer than its
    provider sees it.
    """
    ends = [c.ended for c in calls if start <= c.ended < stop]
    return max(
        (sum(c.began - LATE <= end <= c.ended + LATE for c in calls) for end in ends), default=0
    )


def check_unavailable(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that there is no 502 or 503 while a provider without faults could serve at once."""
    for asked in run.asked:
        could = serving(made, asked.request) if not is_poisoned(asked.request) else []
        well = [d for d in could if d["provider"] not in made.ill | _picky(made)]
        if asked.code == "no_provider_available" and well and len(well) == len(could):
            yield f"503: {asked.request.items[:3]} though no provider was ever ill"
        if asked.code == "upstream_error" and well and len(well) == len(could):
            yield f"502: {asked.request.items[:3]} though no provider was ever ill"
        if asked.code == "overloaded" and not made.no_threads[2] and made.workers == 1:
            first = min((d.get("tier", 0) for d in could), default=0)
            for d in well:
                # What waits for the quota of a deployment fills the queue of its provider.
                limited = any(map(is_limited, _at(made, d["provider"])))
                if d.get("tier", 0) == first and not limited and _is_idle(run, d, asked):
                    yield f"503: {asked.request.items[:3]} while {d['provider']} was idle"


def _at(made: Arrangement, provider: str) -> list[dict[str, Any]]:
    deployments = itertools.chain(*made.models.values())
    return [d for d in deployments if d["provider"] == provider]


def _picky(made: Arrangement) -> set[str]:
    return {name for name, provider in made.providers.items() if provider.refuses_over}


def is_limited(deployment: dict[str, Any]) -> bool:
    return bool({"requests_per_minute", "tokens_per_minute"} & set(deployment))


def _is_idle(run: Simulation, deployment: dict[str, Any], asked: Asked) -> bool:
    assert asked.heard is not None
    calls = run.members[deployment["provider"]].seen
    soon = asked.heard + 2 * LATE  # queued attempts are sent
    return not any(c.began <= soon and c.ended >= asked.heard - IDLE for c in calls)


def check_leaving(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that a request ends soon after its client has left, and no other for that reason."""
    for asked in run.asked:
        assert asked.heard is not None
        if isinstance(asked.error, ClientClosedRequest) and asked.heard < asked.leaves_at:
            yield f"left: {asked.request.items[:3]} ended although its client was there"
        late = asked.heard - max(asked.at, asked.leaves_at) - CLIENT_LOOK_S
        if late > GRACE:
            yield f"left: {asked.request.items[:3]} went on for {late:.2f} s without its client"


def check_overloaded(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that no request of one item is told "overloaded" while a call for it is in flight."""
    for asked in run.asked if made.unique else ():
        if asked.code != "overloaded" or len(asked.request.items) > 1 or asked.heard is None:
            continue
        (item,), heard = asked.request.items, asked.heard
        text = item if isinstance(item, str) else text_of(item)
        for call in run.calls():
            # One that cannot be cancelled may have been given up before, and ends later.
            is_cut = call.cut and call.began < heard <= call.ended <= heard + GRACE
            if is_cut and any(
                text == (i if isinstance(i, str) else text_of(i)) for i in call.items
            ):
                yield f"overloaded: {text} while a call for it was in flight"


def check_errors_are_not_shared(run: Simulation, made: Arrangement) -> Iterator[str]:
    """Check that each caller gets its own exception, which has its attempts and frames."""
    shared = Counter(id(asked.error) for asked in run.asked if asked.error is not None)
    callers = sum(number for number in shared.values() if number > 1)
    if callers:
        yield f"shared error: {callers} callers got an exception that another got too"
