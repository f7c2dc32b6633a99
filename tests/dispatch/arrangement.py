"""One arrangement of the search (providers, faults, settings, requests), drawn from one integer.

A simulation has three phases: requests while providers have faults; a light load after the last
fault, in which deployments can recover; and a last wave, in which every request must succeed.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from app.providers.base import Capabilities
from tests.dispatch.asks import Ask, ask_all
from tests.dispatch.item_limits import Words, limit_items
from tests.dispatch.lifetimes import Lifetime, draw_lifetimes
from tests.dispatch.members import good
from tests.dispatch.operations import Background, Drift, draw_background, draw_drifts
from tests.dispatch.rows import WIDTH
from tests.dispatch.trouble import KINDS, NO_REST, OTHER_WIDTH, Spans, Trouble, answering

#: Faults and settings that are drawn more often in a simulation of a theme.
THEMES = {
    "any": 6,
    "tails": 5,  # hedging, many parts, slow calls
    "quotas": 2,
    "refusals": 2,
    "throttled": 2,
    "bugs": 2,  # adapters that raise unexpected exceptions, also in a probe
    "joins": 3,  # caching, the same items again and again
    "well": 2,  # no faults
    "burst": 1,  # a short burst of 429 at all providers, with many calls in flight
    "silence": 1,  # one provider is silent for a minute, and callers are impatient
    "poison": 1,  # some texts that every provider refuses, in merged batches
    "slow": 1,  # calls take longer than the timeout of a probe
    "share": 1,  # the last wave is long enough to count calls by deployment
}
#: Themes without caching.
NO_CACHE = ("share", "poison")
#: Themes with one model, and those with a deployment of it at each of several providers.
ONE_MODEL = ("tails", "share", "burst", "silence", "poison", "slow")
ALL = ("tails", "share", "silence")


@dataclass
class Provider:
    spans: list[tuple[float, float, Trouble]]
    seconds: float  # of a call, without faults
    settings: dict[str, Any]
    takes: Capabilities
    bytes_per_token: int = 4
    refuses_over: int | None = None  # tokens of one call
    seconds_an_item: float = 0.0  # of a call, beside ``seconds``

    def behaviour(self, began: float) -> Spans:
        return Spans(self.spans, good(self.seconds, self.seconds_an_item), began)

    def longest_short_call(self) -> float:
        """Return the seconds of a call with the most items of a request of the last wave."""
        return self.seconds + 2 * self.seconds_an_item


@dataclass
class Arrangement:
    seed: int
    theme: str
    providers: dict[str, Provider] = field(default_factory=dict)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    model_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokenizers: dict[str, Words] = field(default_factory=dict)
    caching: bool = False
    cache_bytes: int = 2**22
    waiting: int = 1000
    no_threads: tuple[float, float, float] = (0.0, 0.0, 0.0)  # from, until, how often
    workers: int = 1
    lifetimes: list[Lifetime] = field(default_factory=list)  # of each worker
    unique: bool = False  # no item is requested twice
    warm: float = 0.0  # seconds of load before the first fault
    asks: list[Ask] = field(default_factory=list)
    trouble_over: float = 0.0  # when the last fault has no effect any more
    drifts: list[Drift] = field(default_factory=list)
    background: list[Background] = field(default_factory=list)

    @property
    def ill(self) -> set[str]:
        """The providers that have faults, or a deployment that drifts, at some time."""
        faulty = {name for name, provider in self.providers.items() if provider.spans}
        return faulty | {drift.provider for drift in self.drifts}

    def item_tokens(self, text: str) -> int:
        """Return the tokens of a text, with those that a model adds, as every tokenizer counts."""
        for tokenizer in self.tokenizers.values():
            return tokenizer.count([text])[0] + tokenizer.special_tokens
        return 0

    def width_is_unsure(self, model: str) -> bool:
        """Whether a model without `dimensions` may get vectors of two widths."""
        return self.model_settings[model]["dimensions"] is None and any(
            trouble.words == OTHER_WIDTH
            for deployment in self.models[model]
            for _, _, trouble in self.providers[deployment["provider"]].spans
        )


def arrange(seed: int) -> Arrangement:
    """Return the arrangement of a seed, which is always the same."""
    dice = random.Random(seed)
    made = Arrangement(seed, dice.choices(list(THEMES), list(THEMES.values()))[0])
    theme = made.theme
    made.caching = theme == "joins" or (theme not in NO_CACHE and dice.random() < 0.35)
    made.cache_bytes = dice.choice([2**22, 2**22, 3000])
    made.unique = not made.caching and theme != "poison" and dice.random() < 0.6
    made.waiting = dice.choice([1000, 1000, 20, 5])
    made.warm = {"tails": 8.0, "silence": 3.0}.get(theme, dice.choice([0.0, 0.0, 2.0]))
    models = 1 if theme in ONE_MODEL else dice.choice([1, 1, 2, 3])
    numbers = {"poison": [1, 1, 2]}.get(theme, [2, 3, 3, 4] if theme in ALL else [1, 2, 3, 4])
    names = "abcd"[: dice.choice(numbers)]
    count, rate = _load(dice, theme)
    for name in names:
        made.providers[name] = _provider(dice, theme, made.warm, count / rate)
    if theme == "silence":
        for name in names[1:]:
            made.providers[name].spans.clear()
    for model in "mno"[:models]:
        _add_model(dice, made, model)
    last = max(
        (stop + t.felt_after for p in made.providers.values() for _, stop, t in p.spans), default=0
    )
    limit_items(made)
    made.trouble_over = max(last, made.warm + count / rate)
    made.lifetimes = draw_lifetimes(made, _workers(made), made.warm + count / rate)
    made.workers = len(made.lifetimes)
    made.drifts = draw_drifts(made, made.trouble_over)
    made.background = draw_background(made, made.trouble_over)
    made.trouble_over = max([made.trouble_over, *(drift.stop for drift in made.drifts)])
    if theme != "share" and dice.random() < 0.12:
        made.no_threads = (0.0, made.trouble_over, dice.choice([0.02, 0.1]))
    made.asks = ask_all(dice, made, count, count / rate)
    return made


def _load(dice: random.Random, theme: str) -> tuple[int, float]:
    """Return the requests of the first phase, and their rate per second."""
    if theme == "tails":
        return 25, dice.choice([0.15, 0.5])
    if theme == "silence":
        return 120, dice.choice([1.0, 2.0])
    if theme == "burst":
        return 100, 50.0
    if theme == "poison":
        return 120, 40.0
    if theme == "slow":
        return 30, 0.2
    return (40 if theme == "share" else dice.choice([20, 50, 100])), dice.choice([0.5, 2, 10, 50])


def _workers(made: Arrangement) -> int:
    """Return the number of workers: two where nothing is measured that each has for itself."""
    has_one = made.caching or made.theme in ("share", "silence", "slow", "burst")
    return 1 if has_one or random.Random(f"workers of {made.seed}").random() < 0.6 else 2


def _provider(dice: random.Random, theme: str, warm: float, length: float) -> Provider:
    made = Provider(
        _spans(dice, theme, warm, length),
        {"share": 0.05, "slow": 12.0}.get(theme, dice.choice([0.02, 0.05, 0.2])),
        {
            "concurrency": dice.choice([1, 2, 4, 64] if theme != "tails" else [1, 2, 2, 4]),
            "merge": dice.random() < 0.7,
        },
        Capabilities(dimensions=dice.random() < 0.6, tokens=dice.random() < 0.5),
        dice.choice([4, 4, 4, 2]),
    )
    if theme == "burst":
        made.settings |= {"concurrency": 64, "merge": False}
    if theme == "poison":
        made.settings |= {"concurrency": dice.choice([1, 2]), "merge": True}
    if dice.random() < 0.15 and theme not in ("share", "silence"):
        made.refuses_over = made.settings["max_tokens"] = dice.choice([60, 200])
    return made


def _spans(
    dice: random.Random, theme: str, warm: float, length: float
) -> list[tuple[float, float, Trouble]]:
    if theme in ("well", "poison"):
        return []
    if theme == "burst":
        return [(warm + 0.5, warm + 0.8, Trouble(NO_REST, answering(429, 0.2)))]
    if theme == "silence":
        return [(warm, warm + length, KINDS["silent"](dice))]
    kinds = {
        "tails": [["tail"] * 6 + ["slow", "silent", "deaf"]] * 2,
        "refusals": [["refuses", "refuses", "404", "credentials", "5xx", "throttled"]] * 2,
        "slow": [["dead", "dead", "5xx"]] * 2,
        "throttled": [["throttled", "throttled", "quota", "5xx"]] * 2,
        "bugs": [["dead", "dead", "5xx", "flapping"], ["bug"]],
    }.get(theme, [list(KINDS)] * 2)
    number = {"tails": 1, "bugs": 2}.get(theme, dice.choice([0, 1, 1, 2]))
    spans, start = [], warm
    for drawn in kinds[:number]:
        start += (
            dice.choice([0.0, 0.1, 0.3, 0.5]) * length if theme not in ("tails", "bugs") else 0.0
        )
        stop = start + dice.choice([0.3, 0.1 * length, 0.5 * length, length, 30.0])
        if theme == "tails":
            stop = start + length
        spans.append((start, stop, KINDS[dice.choice(drawn)](dice)))
        start = stop
    return spans


def _add_model(dice: random.Random, made: Arrangement, model: str) -> None:
    most = dice.randint(1, len(made.providers))
    if made.theme in ALL:
        most = len(made.providers)
    made.models[model] = [
        _deployment(dice, made.theme, name) for name in dice.sample(sorted(made.providers), most)
    ]
    width = dice.choice([None, WIDTH, WIDTH])
    made.model_settings[model] = {
        "dimensions": width,
        "matryoshka": width is not None and dice.random() < 0.5,
        "hedge": dice.random() < (0.85 if made.theme == "tails" else 0.3),
    }
    if dice.random() < 0.3:
        made.tokenizers[model] = Words(4)


def _deployment(dice: random.Random, theme: str, provider: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"provider": provider, "weight": dice.choice([1, 1, 2])}
    if theme == "tails":
        return settings | {"max_inputs": dice.choice([1, 1, 1, 2])}
    if theme in ("share", "burst", "silence", "poison"):
        return settings
    if theme == "slow":
        return settings
    if theme == "joins":
        settings["max_inputs"] = dice.choice([2, 7, 30])
    settings["tier"] = dice.choice([0, 0, 0, 1])
    many = 0.5 if theme == "quotas" else 0.1
    for name, values, chance in (
        ("max_inputs", [1, 2, 7, 30], 0.35),
        ("max_tokens", [10, 30, 100], 0.3 if theme == "quotas" else 0.15),
        ("concurrency", [1, 2], 0.2),
        ("requests_per_minute", [10, 60], many),
        ("tokens_per_minute", [200, 1000], many),
    ):
        if dice.random() < chance:
            settings[name] = dice.choice(values)
    return settings
