"""The requests of one simulation of the search, drawn from its random numbers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain import InputType, Item
from tests.dispatch.lifetimes import READY_S
from tests.dispatch.members import POISON
from tests.dispatch.rows import WIDTH
from tests.dispatch.trouble import NO_REST

if TYPE_CHECKING:
    from tests.dispatch.arrangement import Arrangement

NOT_TEXT = 7777  # a token id that no tokenizer can decode
BACK = 180.0  # seconds after the last fault within which all deployments must recover …
AFTERWARDS = ("back", "last")  # phases
CALM = 40.0  # … and of those, the seconds without any request
SHORT = 1.0  # maximum length of a burst of 429, in seconds
SOON = 12.0  # seconds after which such a burst must have no effect
#: Requests when a worker starts.
STARTING = 60
#: Average calls of the deployment with the smallest share in the last wave, where calls are
#: counted: no call by chance then has odds of 1 to 10^6.
EXPECTED_SHARE = 16


@dataclass(frozen=True)
class Ask:
    """A request and its time.

    ``after``: seconds since the start of the simulation; in the phase `AFTERWARDS`, since all
    other requests have ended and the last fault is over.
    """

    model: str
    items: Sequence[Item]
    after: float
    timeout: float = 600.0
    dimensions: int | None = None
    input_type: InputType | None = None
    phase: str = "trouble"


def ask_all(dice: random.Random, made: "Arrangement", count: int, length: float) -> list[Ask]:
    """Return all requests in the order of their times."""
    asks = [
        *_to_warm_up(dice, made),
        *_in_trouble(dice, made, count, length),
        *_in_bursts(made),
        *_at_starts(made),
        *_afterwards(dice, made),
        *_at_last(dice, made),
    ]
    return sorted(asks, key=lambda ask: (ask.phase in AFTERWARDS, ask.after))


def _to_warm_up(dice: random.Random, made: "Arrangement") -> Iterator[Ask]:
    """Return short requests: they teach latencies, and earn retries and hedges."""
    for number in range(int(made.warm * (40 if made.theme == "tails" else 20))):
        after = made.warm * dice.random()
        yield Ask(dice.choice(sorted(made.models)), [f"warm {number}"], after, phase="warm")


def _in_trouble(
    dice: random.Random, made: "Arrangement", count: int, length: float
) -> Iterator[Ask]:
    every, after = length / count, made.warm
    patient = dice.random() < 0.4 and made.theme != "silence"
    timeouts = {"silence": [2, 3], "tails": [30, 60]}.get(made.theme, [1, 2, 5, 30, 600])
    plain = made.theme == "joins" and dice.random() < 0.7  # shared entries of the cache
    sizes = dice.choice([[1], [1, 1, 2, 5], [1, 2, 8, 20, 60]])
    sizes = {"tails": [1, 6, 12, 12], "poison": [1], "joins": [1, 2, 20, 60]}.get(made.theme, sizes)
    bad = {"refusals": 0.05, "poison": 0.15}.get(made.theme, dice.choice([0, 0, 0.05]))
    for number in range(count):
        after += dice.expovariate(1 / every) if dice.random() < 0.8 else 0.0
        model = dice.choice(sorted(made.models))
        tokens = dice.random() < 0.12 and not plain
        size = dice.choice(sizes)
        items = [_item(dice, made, number, place, tokens) for place in range(size)]
        if dice.random() < 0.2 and not made.unique:
            items += items[: dice.randint(1, 3)]
        if bad and dice.random() < bad and not tokens:
            items[dice.randrange(len(items))] = f"{POISON}{number if made.unique else number % 3}"
        yield Ask(
            model,
            items,
            after,
            600.0 if patient else dice.choice(timeouts),
            None if plain else dice.choice([None] * 8 + [WIDTH // 2, WIDTH]),
            None if plain else dice.choice([None] * 5 + ["query"]),
        )


def _item(dice: random.Random, made: "Arrangement", number: int, place: int, tokens: bool) -> Item:
    if not made.unique and dice.random() < 0.7:
        number, place = dice.randint(0, 12), 0
    if tokens:
        ids = [number, place, 1, 2]
        return [*ids, NOT_TEXT] if number % 7 == 3 else ids
    # Long and short ones, but the same text for the same number.
    return f"{number}-{place}" + " and so on" * ((number * 7 + place) % 11 // 3 * 2)


def _in_bursts(made: "Arrangement") -> Iterator[Ask]:
    """Return bursts of requests, to test that a burst of 429 without Retry-After ends soon."""
    for model, deployments in made.models.items():
        spans = [s for d in deployments for s in made.providers[d["provider"]].spans]
        short = all(stop - start <= SHORT for start, stop, _ in spans)
        if spans and short and all(NO_REST in trouble.words for _, _, trouble in spans):
            end = max(stop for _, stop, _ in spans)
            for number in range(5):
                yield Ask(model, [f"soon {number}"], end + SOON + number, phase="soon")


def _at_starts(made: "Arrangement") -> Iterator[Ask]:
    """Return a burst of requests at the start of a worker, when others have its slots."""
    for life in made.lifetimes:
        for number in range(STARTING if life.starts_at else 0):
            model = sorted(made.models)[number % len(made.models)]
            yield Ask(model, [f"start {number}"], life.starts_at + READY_S)


def _afterwards(dice: random.Random, made: "Arrangement") -> Iterator[Ask]:
    """Return a light load in which each deployment can be probed."""
    for model in made.models:
        for number in range(8):
            after = CALM + (BACK - CALM) * (number + dice.random()) / 8
            yield Ask(model, [f"back {number}"], after, 30.0, phase="back")


def _at_last(dice: random.Random, made: "Arrangement") -> Iterator[Ask]:
    """Return a wave in which every request must succeed quickly."""
    every = 4 * max(provider.longest_short_call() for provider in made.providers.values())
    start = BACK + 10
    for model, deployments in made.models.items():
        number = 10
        if made.theme == "share":
            weights = [d["weight"] for d in deployments]
            number = int(EXPECTED_SHARE * sum(weights) / min(weights)) + 1
        for place in range(number):
            items = [f"last {place} {k}" for k in range(dice.choice([1, 1, 2]))]
            yield Ask(model, items, start + place * every * len(made.models), 30.0, phase="last")
        if made.caching and not made.width_is_unsure(model):
            for ask_number in range(3):
                old = [_item(dice, made, dice.randint(0, 12), 0, False) for _ in range(2)]
                # Of other tiers, they may not share a call: where calls are long, each has its own.
                after = start + 30 + ask_number * max(1.0, every)
                yield Ask(model, old, after, 30.0, phase="last")
