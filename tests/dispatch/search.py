"""Search for arrangements in which the pipeline or dispatch violates an invariant.

``python -m tests.dispatch.search SEED`` runs one arrangement and prints its events.
`arrangement` draws it, `simulator` runs it, `invariants` has the checks.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.domain import EmbeddingRequest
from tests.dispatch.arrangement import Arrangement, arrange
from tests.dispatch.asked import Asked
from tests.dispatch.asks import AFTERWARDS, Ask
from tests.dispatch.extras import Extras
from tests.dispatch.internals import start_early_at_once
from tests.dispatch.invariants import violations
from tests.dispatch.operations import schedule
from tests.dispatch.simulator import Simulation, simulated
from tests.dispatch.workers import VirtualStore, share_slots

#: Maximum events of a simulation, a hundred times the usual number: it would not end.
MOST_EVENTS = 1_000_000


def search(seed: int) -> list[str]:
    """Return the violations of an arrangement, one line each."""
    return search_and_count(seed)[1]


def search_and_count(seed: int) -> tuple[int, list[str]]:
    """Return the number of requests of an arrangement, and its violations."""
    made = arrange(seed)
    with running(made) as run:
        return len(made.asks), violations(run, made)


def again(seed: int) -> str:
    """Return the command that runs one arrangement."""
    return f"python -m tests.dispatch.search {seed}"


@contextmanager
def running(made: Arrangement) -> Iterator[Simulation]:
    """Run an arrangement to its end; return the simulation."""
    extras = Extras(made)
    members = made.providers.items()
    with simulated(
        {name: provider.behaviour(began=1000.0) for name, provider in members},
        made.models,
        seed=made.seed,
        caching=made.caching,
        waiting=made.waiting,
        providers={name: provider.settings for name, provider in members},
        model_settings=made.model_settings,
        takes={name: provider.takes for name, provider in members},
        bytes_per_token={name: provider.bytes_per_token for name, provider in members},
        tokenizers=made.tokenizers,
        cache_bytes=made.cache_bytes,
        workers=made.workers,
    ) as run:
        run.world.most_events = MOST_EVENTS
        for name, provider in members:
            run.members[name].refuses_over = provider.refuses_over
            run.members[name].item_tokens = made.item_tokens
        for dispatcher in run.dispatchers if extras.is_gevent else ():
            start_early_at_once(dispatcher, run.world)
        schedule(run, made)
        _ask(run, [ask for ask in made.asks if ask.phase not in AFTERWARDS], 0.0, extras)
        stores = _share_slots(run, made) if made.workers > 1 else []
        _shorten_threads(run, made)
        run.world.run()  # until the requests of the first phase have ended
        began = max(made.trouble_over, run.world.now - 1000)
        _ask(run, [ask for ask in made.asks if ask.phase in AFTERWARDS], began, extras)
        for store in stores:
            store.start()
        run.world.run()
        yield run


def _ask(run: Simulation, asks: Sequence[Ask], began: float, extras: Extras) -> None:
    """Schedule requests, relative to the start of the simulation or of its last phase."""
    for ask in asks:
        at = began + extras.moment(ask.after, ask.phase)
        run.ask(
            ask.model,
            ask.items,
            after=1000 + at - run.world.now,
            timeout=ask.timeout,
            dimensions=ask.dimensions,
            input_type=ask.input_type,
            worker=extras.worker(at),
            user=extras.user(),
            flow=extras.flow(),
            leaves_after=extras.leaves_after(ask.phase),
        )


def _share_slots(run: Simulation, made: Arrangement) -> list[VirtualStore]:
    """Let workers lease the slots of providers while a request waits; return their stores."""
    dice = random.Random(f"store of {made.seed}")
    stores = share_slots(
        run.world,
        run.dispatchers,
        made.lifetimes,
        dice,
        run.waits,
        made.trouble_over,
    )
    if stores[0].may_not_answer:  # a worker that had lent all its slots uses one at once
        for member in run.members.values():
            member.slots += made.workers - 1
    return stores


def _shorten_threads(run: Simulation, made: Arrangement) -> None:
    """Let starts of threads fail now and then."""
    start, stop, rate = made.no_threads
    dice, began = random.Random(made.seed), run.world.now
    if rate:
        run.world.may_start = lambda: (
            not start <= run.world.now - began < stop or dice.random() >= rate
        )


def tell(seed: int) -> list[str]:
    """Print an arrangement, its events and its violations."""
    made = arrange(seed)
    print(f"seed {seed}, theme {made.theme}: {len(made.asks)} requests")
    print(f"caching {made.caching} ({made.cache_bytes} bytes), waiting at most {made.waiting}")
    print(f"share of threads that cannot be had: {made.no_threads[2]:g}")
    for name, provider in made.providers.items():
        print(f"provider {name}: {provider.settings} {provider.takes}")
        print(f"  {provider.seconds} s a call, {provider.seconds_an_item} s an item")
        print(f"  {provider.bytes_per_token} bytes a token")
        for start, stop, trouble in provider.spans:
            print(f"  from {start:.2f} to {stop:.2f}: {trouble.words}")
    for change in (*made.drifts, *made.background):
        print(change)
    for model, deployments in made.models.items():
        tokenizer = "with" if model in made.tokenizers else "without"
        print(f"model {model}: {made.model_settings[model]} {tokenizer} a tokenizer")
        for deployment in deployments:
            print(f"  {deployment}")
    with running(made) as run:
        _tell_what_happened(run)
        broken = violations(run, made)
    print("\n".join(broken) or "every promise was kept")
    return broken


def _tell_what_happened(run: Simulation) -> None:
    lines = [(asked.at, _request_line(asked.request, asked)) for asked in run.asked]
    for name, member in run.members.items():
        for call in member.seen:
            end = "cut" if call.cut else call.error or "ok"
            line = f"  call {name}/{call.model} {list(call.items)[:4]} ({len(call.items)})"
            lines.append((call.began, f"{line} until {call.ended - 1000:.3f}: {end}"))
    for at, line in sorted(lines):
        print(f"{at - 1000:9.3f} {line}")


def _request_line(request: EmbeddingRequest, asked: Asked) -> str:
    heard = "never" if asked.heard is None else f"{asked.heard - 1000:.3f}"
    what = asked.bug or asked.error or (asked.outcome and asked.outcome.cache)
    options = f"timeout {request.timeout:g}, dimensions {request.dimensions}, {request.flow}"
    if asked.leaves_at < float("inf"):
        options += f", leaves {asked.leaves_at - 1000:.3f}"
    items = f"{list(request.items)[:4]} ({len(request.items)})"
    return f"request {request.model} {items}, {options}, heard {heard}: {what!r}"


if __name__ == "__main__":
    sys.exit(bool(tell(int(sys.argv[1]))))
