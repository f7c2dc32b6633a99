"""The limits of a key as rules, and the 429 and the headers that a caller gets for them.

A limit is a field of `KeySettings` whose name says its unit and its period. The units are declared
here: mypy reports where the amounts of a new one are missing ("Add a limit of a key" in
CONTRIBUTING.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple, TypedDict, get_args

from app.config.sections.keys import KEY_LIMITS
from app.domain import Caller
from app.errors import ClientError, QuotaExhausted, RateLimited
from app.limits.counters.windows import Take, Window
from app.limits.periods import CONCURRENT, MINUTE, Calendar, Period
from app.limits.pricing import NANODOLLARS

#: What a limit counts.
Unit = Literal["requests", "tokens", "dollars"]
UNITS: tuple[Unit, ...] = get_args(Unit)


class Amounts(TypedDict):
    """An amount of each unit; dollars in billionths."""

    requests: int
    tokens: int
    dollars: int


NO_AMOUNTS: Amounts = {"requests": 0, "tokens": 0, "dollars": 0}
#: Units with OpenAI's ``x-ratelimit-*`` headers.
HEADER_UNITS = tuple(unit for unit in UNITS if unit != "dollars")
_HEADERS: dict[Unit, tuple[str, ...]] = {
    unit: tuple(f"x-ratelimit-{value}-{unit}" for value in ("limit", "remaining", "reset"))
    for unit in HEADER_UNITS
}


class LimitName(NamedTuple):
    """The name of a limit in `KeySettings`, and what it says."""

    setting: str
    unit: Unit
    period: str  # as in `make_periods`
    is_per_user: bool


def make_periods(zone: tzinfo = UTC) -> dict[str, Period]:
    """Return the periods of limits by name; days and months begin at midnight in ``zone``."""
    calendar = {"day": Calendar("day", zone), "month": Calendar("month", zone)}
    return {"minute": MINUTE, **calendar, CONCURRENT.name: CONCURRENT}


#: The periods that names of limits have.
PERIODS = tuple(name for name in make_periods() if name != CONCURRENT.name)
#: Seconds after which a request over the limit of concurrent requests may be sent again. A guess:
#: when one of the others will end is not known.
CONCURRENT_RETRY_S = 1.0


def parse_limit(setting: str) -> LimitName:
    """Return what the name of a limit says. Raises ValueError."""
    if setting == "concurrent_requests":
        return LimitName(setting, "requests", CONCURRENT.name, False)
    unit_name, _, period = setting.removeprefix("user_").partition("_per_")
    unit = next((unit for unit in UNITS if unit == unit_name), None)
    if unit is None or period not in PERIODS:
        wrong = f"unit {unit_name!r}" if unit is None else f"period {period!r}"
        raise ValueError(
            f"KeySettings.{setting}: unknown {wrong} of a limit. A limit is named UNIT_per_PERIOD "
            f"or user_UNIT_per_PERIOD; units: {', '.join(UNITS)}; periods: {', '.join(PERIODS)}"
        )
    return LimitName(setting, unit, period, setting.startswith("user_"))


#: The limits of a key. A counter is named by the place of its limit here: see `KeySettings`.
LIMIT_NAMES = tuple(parse_limit(name) for name in KEY_LIMITS if name != "warn_at")


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit of a key.

    ``name`` is the name of its counter; for a limit of end users, a digest of the user follows it.
    """

    setting: str
    unit: Unit
    period: Period
    is_per_user: bool
    limit: int
    name: str
    key_name: str = ""
    warn_at: float | None = None  # the soft limit, as a share of a quota or a budget

    def take(self, costs: Amounts, user: str) -> Take:
        """Return what a request takes of this limit; ``user`` is only used as a digest."""
        name = f"{self.name}:{_digest(user)}" if self.is_per_user else self.name
        return Take(name, self.limit, self.period, costs[self.unit])

    def refusal(self, window: Window, cost: int) -> ClientError:
        """Return the 429 of a request whose cost does not fit into the window."""
        if self.period is CONCURRENT:
            return RateLimited(
                f"Rate limit reached for concurrent requests: limit {self.limit}, in progress "
                f"{window.current}. Please try again in {duration(CONCURRENT_RETRY_S)}.",
                retry_after=CONCURRENT_RETRY_S,
            )
        of_user = " of this end user" if self.is_per_user else ""
        amounts = (
            f"{self.unit} per {self.period.name}{of_user}: limit {self._shown(self.limit)}, "
            f"used {self._shown(math.ceil(window.used))}, requested {self._shown(cost)}."
        )
        if isinstance(self.period, Calendar):
            reset = datetime.fromtimestamp(window.end, self.period.zone)
            return QuotaExhausted(
                f"You exceeded your current quota for {amounts} It resets at {reset.isoformat()}.",
                retry_after=window.end - window.now,
            )
        fits = cost <= self.limit
        # A worker's share may be less than the cost; the request then fits into an empty window.
        room = max(0, window.limit - cost)
        wait_s = window.time_to_fit(room) if fits else float(self.period.seconds)
        return RateLimited(
            f"Rate limit reached for {amounts}"
            + (f" Please try again in {duration(wait_s)}." if fits else ""),
            type=self.unit,
            retry_after=wait_s,
            should_retry=None if fits else False,
        )

    def amount(self, counted: int) -> float:
        """Convert a count to requests, tokens or dollars."""
        return counted / NANODOLLARS if self.unit == "dollars" else counted

    def _shown(self, counted: int) -> str:
        amount = self.amount(counted)
        return f"${amount:.6g}" if self.unit == "dollars" else str(amount)


def rules_of(caller: Caller, periods: Mapping[str, Period]) -> tuple[Rule, ...]:
    """Return the limits of a key; ``periods`` are those of `make_periods`."""
    rules = []
    for place, (setting, unit, period_name, is_per_user) in enumerate(LIMIT_NAMES):
        limit = getattr(caller, setting)
        if limit is not None:
            whole = round(limit * NANODOLLARS) if unit == "dollars" else limit
            name = f"{counters_of(caller)}{place}"
            period = periods[period_name]
            # Limits of end users have no soft limit: a warning for each user could not name the
            # user, of whom only a digest is kept.
            warn_at = caller.warn_at if period.is_calendar and not is_per_user else None
            rules.append(
                Rule(setting, unit, period, is_per_user, whole, name, caller.name, warn_at)
            )
    return tuple(rules)


def counters_of(caller: Caller) -> str:
    """Return the prefix of the names of all counters of a key."""
    # In braces, so that a Redis cluster keeps a key's counters in one slot: one script reads all.
    return f"{{{_digest(caller.name)}}}:"


def headers(rules: Sequence[Rule], windows: Sequence[Window]) -> dict[str, str]:
    """Return OpenAI's ``x-ratelimit-*`` headers.

    They describe, for each unit that has such headers, its limit with the least remaining; not the
    limit of concurrent requests, since no time is known at which it resets.
    """
    least: dict[Unit, tuple[int, Rule, Window]] = {}
    for rule, window in zip(rules, windows, strict=True):
        unit = rule.unit
        if unit in _HEADERS and rule.period is not CONCURRENT:
            remaining = window.remaining
            known = least.get(unit)
            if known is None or remaining < known[0]:
                least[unit] = (remaining, rule, window)
    values = {}
    for unit, (remaining, rule, window) in least.items():
        limit_header, remaining_header, reset_header = _HEADERS[unit]
        values[limit_header] = str(rule.limit)
        values[remaining_header] = str(remaining)
        values[reset_header] = duration(window.time_to_fit(0))
    return values


def duration(seconds: float) -> str:
    """Format seconds as OpenAI does: ``20ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


@lru_cache(4096)  # each limit of end users needs the digest of the same user
def _digest(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
