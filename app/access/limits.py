"""What a key and its end users may use: requests, tokens and money in a minute, a day, a month.

A request takes what it is expected to use before it is served, and what was counted is settled
afterwards. Counted in memory, where each worker has its share of every limit, or in a Redis or
Valkey (``LIMITS["url"]``), exact over all of them; a server that is slow or dead refuses nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.access.rules import Prices, Rule, headers, rules_of
from app.access.windows import Change, MemoryWindows, Take, Window, Windows
from app.config import Settings
from app.domain import Caller, EmbeddingRequest, Outcome
from app.usage.share import estimate

#: Callers whose rules are remembered: more than there are keys, and bounded for tokens' owners.
_REMEMBERED = 10_000


@dataclass(slots=True)
class Grant:
    """A request that was let in: what it was taken for, and the headers that say what is left."""

    model: str
    rules: Sequence[Rule]
    takes: list[Take]
    windows: list[Window]
    headers: dict[str, str] = field(default_factory=dict)


class Limiter:
    """Lets requests in while their key and their end user have something left."""

    def __init__(
        self, windows: Windows, prices: Prices | None = None, count_cached: bool = True
    ) -> None:
        self.windows = windows
        self._prices = prices or Prices({})
        self._count_cached = count_cached
        self._rules: dict[str, tuple[Caller, tuple[Rule, ...]]] = {}

    def admit(self, caller: Caller, request: EmbeddingRequest) -> Grant | None:
        """Take a request and its expected tokens; None for a key without limits.

        Raises `RateLimited` or `QuotaExhausted`; a request that is refused costs nothing. Also
        None where nobody can tell what is left: limits are an extra, and fail open.
        """
        rules = self._rules_of(caller)
        if not rules:
            return None
        tokens = sum(map(estimate, request.items))
        costs = {
            "requests": 1,
            "tokens": tokens,
            "dollars": self._prices.expected(request.model, tokens),
        }
        user = request.user or ""  # those without a name share one
        takes = [rule.take(costs, user) for rule in rules]
        taken = self.windows.take(takes)
        if taken is None:
            return None
        if taken.refused >= 0:
            place = taken.refused
            refusal = rules[place].refusal(taken.windows[place], takes[place].cost)
            refusal.headers = headers(rules, taken.windows)
            raise refusal
        return Grant(request.model, rules, takes, taken.windows)

    def settle(self, grant: Grant, outcome: Outcome | None) -> None:
        """Correct the estimates by what was counted; None for a request that failed."""
        tokens = 0
        if outcome is not None:
            cached = 0 if self._count_cached else outcome.cached_tokens
            tokens = outcome.prompt_tokens - cached
        changes = []
        for rule, take, window in zip(grant.rules, grant.takes, grant.windows, strict=True):
            if rule.what == "requests":
                continue
            if rule.what == "tokens":
                more = tokens - take.cost
            else:
                spent = self._prices.of(grant.model, outcome) if outcome is not None else 0
                more = spent - take.cost
            if more:
                changes.append(Change(take.name, take.seconds, window.index, more))
                window.current = max(0, window.current + more)
        if changes:
            self.windows.change(changes)
        grant.headers = headers(grant.rules, grant.windows)

    def close(self) -> None:
        """Let go of the server, where there is one."""
        self.windows.close()

    def _rules_of(self, caller: Caller) -> tuple[Rule, ...]:
        known = self._rules.get(caller.name)
        if known is not None and (known[0] is caller or known[0] == caller):
            return known[1]
        if len(self._rules) >= _REMEMBERED:
            self._rules.clear()
        rules = rules_of(caller)
        self._rules[caller.name] = (caller, rules)
        return rules


def make_limiter(settings: Settings) -> Limiter:
    """The limiter that the settings ask for."""
    limits = settings.limits
    windows: Windows
    if limits.url is None:
        windows = MemoryWindows(settings.workers)
    else:
        from app.access.shared_windows import SharedWindows  # redis-py is not needed otherwise

        windows = SharedWindows(limits.url, limits.namespace, limits.timeout)
    return Limiter(windows, Prices(settings.models), limits.count_cached_tokens)
