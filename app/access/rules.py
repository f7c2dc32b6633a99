"""The limits of a key as rules, and what a caller is told who meets one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from app.access.windows import Take, Window
from app.config import ModelSettings
from app.domain import Caller, Outcome, Source
from app.errors import ClientError, QuotaExhausted, RateLimited

_MINUTE, _DAY, _MONTH = 60, 24 * 3600, 30 * 24 * 3600  # seconds; a month is 30 days, at any time
#: Money is counted in billionths of a dollar: whole numbers, also for one token of the cheapest.
_DOLLAR = 1_000_000_000
#: Setting, what it counts, its window, whether it is of each end user.
_SETTINGS = (
    ("requests_per_minute", "requests", _MINUTE, False),
    ("tokens_per_minute", "tokens", _MINUTE, False),
    ("tokens_per_day", "tokens", _DAY, False),
    ("tokens_per_month", "tokens", _MONTH, False),
    ("dollars_per_month", "dollars", _MONTH, False),
    ("user_requests_per_minute", "requests", _MINUTE, True),
    ("user_tokens_per_minute", "tokens", _MINUTE, True),
)
_PERIODS = {_MINUTE: "minute", _DAY: "day", _MONTH: "month"}
#: OpenAI's headers; money has none.
_HEADERS = {
    what: tuple(f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset"))
    for what in ("requests", "tokens")
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit. ``name`` is what its counter is called, for an end user with theirs behind it."""

    setting: str
    what: str  # requests, tokens, dollars
    seconds: int
    of_user: bool
    limit: int
    name: str

    def take(self, costs: Mapping[str, int], user: str) -> Take:
        """What a request takes; the names of end users are told to no server."""
        name = f"{self.name}:{_digest(user)}" if self.of_user else self.name
        return Take(name, self.limit, self.seconds, costs[self.what])

    def refusal(self, window: Window, cost: int) -> ClientError:
        """The 429 of a request that found its window too full."""
        fits = cost <= window.limit
        wait = window.time_to_fit(window.limit - cost) if fits else float(self.seconds)
        whose = " of this end user" if self.of_user else ""
        amounts = (
            f"{self.what} per {_PERIODS[self.seconds]}{whose}: limit {self._shown(self.limit)}, "
            f"used {self._shown(math.ceil(window.used))}, requested {self._shown(cost)}."
        )
        if self.seconds != _MINUTE:
            return QuotaExhausted(
                f"You exceeded your current quota for {amounts}", retry_after=wait
            )
        return RateLimited(
            f"Rate limit reached for {amounts}"
            + (f" Please try again in {duration(wait)}." if fits else ""),
            type=self.what,
            retry_after=wait,
            should_retry=None if fits else False,
        )

    def _shown(self, amount: int) -> str:
        return f"${amount / _DOLLAR:.6g}" if self.what == "dollars" else str(amount)


def rules_of(caller: Caller) -> tuple[Rule, ...]:
    """The limits that a key has."""
    rules = []
    for place, (setting, what, seconds, of_user) in enumerate(_SETTINGS):
        limit = getattr(caller, setting)
        if limit is not None:
            whole = round(limit * _DOLLAR) if what == "dollars" else limit
            # In braces what decides on a cluster's slot: one script takes from all of a key's.
            name = f"{{{_digest(caller.name)}}}:{place}"
            rules.append(Rule(setting, what, seconds, of_user, whole, name))
    return tuple(rules)


def headers(rules: Sequence[Rule], windows: Sequence[Window]) -> dict[str, str]:
    """OpenAI's ``x-ratelimit-*``: of requests and of tokens, for the limit that has least left."""
    least: dict[str, tuple[int, Rule, Window]] = {}
    for rule, window in zip(rules, windows, strict=True):
        what = rule.what
        if what != "dollars":
            left = window.left
            known = least.get(what)
            if known is None or left < known[0]:
                least[what] = (left, rule, window)
    found = {}
    for what, (left, rule, window) in least.items():
        limit, remaining, reset = _HEADERS[what]
        found[limit] = str(rule.limit)
        found[remaining] = str(left)
        found[reset] = duration(window.time_to_fit(0))
    return found


class Prices:
    """What tokens cost, by ``price_per_million_tokens`` of the deployments."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._of: dict[str, dict[Source, float]] = {}  # billionths of a dollar a token
        for name, model in models.items():
            prices = self._of[name] = {}
            for d in model.deployments:
                price, source = d.price_per_million_tokens * _DOLLAR / 1e6, (d.provider, d.model)
                prices[source] = max(price, prices.get(source, 0.0))
        self._dearest = {m: max(prices.values(), default=0.0) for m, prices in self._of.items()}

    def expected(self, model: str, tokens: int) -> int:
        """The cost at the dearest deployment, in billionths of a dollar."""
        return math.ceil(self._dearest.get(model, 0.0) * tokens)

    def of(self, model: str, outcome: Outcome) -> int:
        """The cost of what was not cached, each row at the price of who embedded it."""
        prices, sources = self._of.get(model, {}), outcome.sources
        if len(sources) == 1:
            tokens = outcome.prompt_tokens - outcome.cached_tokens
            return math.ceil(prices.get(sources[0], 0.0) * tokens)
        rows = zip(sources, outcome.vectors.tokens, strict=bool(sources))
        return math.ceil(sum(prices.get(source, 0.0) * tokens for source, tokens in rows))


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``20ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


@lru_cache(4096)  # an end user's is asked for by each limit of end users
def _digest(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
