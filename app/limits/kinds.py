"""The limits of a key as rules, and what a caller is told who meets one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import blake2b

from app.config.keys import LIMITS
from app.domain import Caller
from app.errors import ClientError, QuotaExhausted, RateLimited
from app.limits.memory import Take, Window
from app.limits.periods import MINUTE, Calendar, Period
from app.limits.pricing import NANODOLLARS

#: OpenAI's headers; money has none.
_HEADERS = {
    what: tuple(f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset"))
    for what in ("requests", "tokens")
}


def _counted(setting: str) -> tuple[str, str, str, bool]:
    """Setting, what it counts, in which period, and whether it is of each end user."""
    what, period = setting.removeprefix("user_").split("_per_")
    return setting, what, period, setting.startswith("user_")


#: Counters are named by their place here: declare a new limit of a key behind the others.
_SETTINGS = tuple(_counted(name) for name in LIMITS if "_per_" in name)


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit. ``name`` is what its counter is called, for an end user with theirs behind it."""

    setting: str
    what: str  # requests, tokens, dollars
    period: Period
    of_user: bool
    limit: int
    name: str
    key: str = ""  # the name of the key that has it
    warn_at: float | None = None  # share of a quota or a budget that is its soft limit

    def take(self, costs: Mapping[str, int], user: str) -> Take:
        """What a request takes; the names of end users are told to no server."""
        name = f"{self.name}:{_digest(user)}" if self.of_user else self.name
        return Take(name, self.limit, self.period, costs[self.what])

    def refusal(self, window: Window, cost: int) -> ClientError:
        """The 429 of a request that found its window too full."""
        whose = " of this end user" if self.of_user else ""
        amounts = (
            f"{self.what} per {self.period.name}{whose}: limit {self._shown(self.limit)}, "
            f"used {self._shown(math.ceil(window.used))}, requested {self._shown(cost)}."
        )
        if isinstance(self.period, Calendar):
            reset = datetime.fromtimestamp(window.end, self.period.zone)
            return QuotaExhausted(
                f"You exceeded your current quota for {amounts} It resets at {reset.isoformat()}.",
                retry_after=window.end - window.now,
            )
        fits = cost <= self.limit
        # A worker's share may be less than the request, which then fits where nothing is used.
        room = max(0, window.limit - cost)
        wait = window.time_to_fit(room) if fits else float(self.period.seconds)
        return RateLimited(
            f"Rate limit reached for {amounts}"
            + (f" Please try again in {duration(wait)}." if fits else ""),
            type=self.what,
            retry_after=wait,
            should_retry=None if fits else False,
        )

    def amount(self, counted: int) -> float:
        """What is counted, in whole requests or tokens, or in dollars."""
        return counted / NANODOLLARS if self.what == "dollars" else counted

    def _shown(self, counted: int) -> str:
        amount = self.amount(counted)
        return f"${amount:.6g}" if self.what == "dollars" else str(amount)


def rules_of(caller: Caller, periods: Mapping[str, Period]) -> tuple[Rule, ...]:
    """The limits that a key has; ``periods`` by their names, as `make_periods` makes them."""
    rules = []
    for place, (setting, what, period, of_user) in enumerate(_SETTINGS):
        limit = getattr(caller, setting)
        if limit is not None:
            whole = round(limit * NANODOLLARS) if what == "dollars" else limit
            name = f"{counters_of(caller)}{place}"
            span = periods[period]
            warn_at = None if span.slides else caller.warn_at
            rules.append(Rule(setting, what, span, of_user, whole, name, caller.name, warn_at))
    return tuple(rules)


def counters_of(caller: Caller) -> str:
    """What the names of all counters of a key begin with."""
    # In braces what decides on a cluster's slot: one script takes from all of a key's.
    return f"{{{_digest(caller.name)}}}:"


def make_periods(zone: tzinfo = UTC) -> dict[str, Period]:
    """The periods of limits, by name; days and months begin at midnight in this time zone."""
    return {"minute": MINUTE, "day": Calendar("day", zone), "month": Calendar("month", zone)}


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
