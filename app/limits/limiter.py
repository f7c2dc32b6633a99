"""Enforce the limits of keys and end users: reserve before a request, settle after it.

A request takes its expected usage before it is served (`Limiter.admit`); afterwards the estimate is
replaced by the usage that was counted (`Limiter.settle`). A minute is a sliding window; days and
months are those of the calendar, in ``LIMITS["timezone"]``. Of the limit of concurrent requests a
request takes one, and gives it back when it is settled.

The counters are in memory, where each worker has its share of every limit, or in a Redis or Valkey
(``LIMITS["url"]``), exact over all workers. While that server does not answer, keys with a quota or
a budget are refused or not (``when_away``); their usage is charged when it answers again.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from app.config import Settings
from app.domain import Caller, EmbeddingRequest, Outcome, Source
from app.errors import LimitsUnavailable
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.windows import Change, Take, UsageReservation, Window, Windows
from app.limits.periods import CONCURRENT, zone_of
from app.limits.pricing import Prices
from app.limits.rules import Amounts, Rule, headers, make_periods, rules_of
from app.limits.soft_limits import SoftLimits
from app.tokens.counting import estimate

#: Seconds after a request's deadline at which its reservation expires.
GRACE_S = 60.0
#: Callers whose rules are remembered. Bounded, as tokens may name any number of callers.
MAX_CALLERS_REMEMBERED = 10_000


@dataclass(slots=True)
class Grant:
    """What an admitted request has taken of each limit, and its ``x-ratelimit-*`` headers.

    ``windows`` is None if the server that counts did not answer.
    """

    model: str
    rules: Sequence[Rule]
    takes: list[Take]
    windows: list[Window] | None
    reservation: UsageReservation
    headers: dict[str, str] = field(default_factory=dict)


class Limiter:
    """Admits requests within the limits of their key and end user; refuses others with 429."""

    def __init__(
        self,
        windows: Windows,
        prices: Prices | None = None,
        count_cached: bool = True,
        zone: tzinfo = UTC,
        refuse_when_away: bool = False,
        clock: Callable[[], float] = time.time,
        soft_limits: SoftLimits | None = None,
    ) -> None:
        self.windows = windows
        self.soft_limits = soft_limits or SoftLimits(windows)
        self._prices = prices or Prices({})
        self._count_cached = count_cached
        self._refuse_when_away = refuse_when_away
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._request_numbers = itertools.count(1)
        self._periods = make_periods(zone)
        self._rules: dict[str, tuple[Caller, tuple[Rule, ...]]] = {}

    def admit(self, caller: Caller, request: EmbeddingRequest) -> Grant | None:
        """Take a request's expected usage of each limit; return None for a key without limits.

        Raises `RateLimited` or `QuotaExhausted`; a refused request takes nothing. If the server
        that counts does not answer, the request is admitted, or, if its key has a limit of a day or
        a month and ``when_away`` is "refuse", `LimitsUnavailable` is raised.
        """
        rules = self._rules_of(caller)
        if not rules:
            return None
        costs = self._expected(request)
        user = request.user or ""  # requests without a user share the limits of one end user
        takes = [rule.take(costs, user) for rule in rules]
        request_number = next(self._request_numbers)
        reservation = UsageReservation(
            f"{self._process}-{request_number}", request.timeout + GRACE_S
        )
        taken = self.windows.take(takes, reservation)
        if taken is None:
            if self._refuse_when_away and any(rule.period.is_calendar for rule in rules):
                raise LimitsUnavailable(
                    "Quotas and budgets cannot be checked now. Try again.", retry_after=1
                )
            return Grant(request.model, rules, takes, None, reservation)
        if taken.refused >= 0:
            place = taken.refused
            refusal = rules[place].refusal(taken.windows[place], takes[place].cost)
            refusal.headers = headers(rules, taken.windows)
            raise refusal
        return Grant(request.model, rules, takes, taken.windows, reservation)

    def settle(
        self, grant: Grant, outcome: Outcome | None, purchases: Mapping[Source, int]
    ) -> None:
        """Replace the estimates by the usage that was counted; ``outcome`` None: it failed.

        ``purchases`` are the tokens bought for the request, by deployment; a failed request may
        have bought some, too.
        """
        used = self._used(grant, outcome, purchases)
        if grant.windows is None:
            self._charge_unchecked(grant, used)
            return
        changes = []
        for rule, take, window in zip(grant.rules, grant.takes, grant.windows, strict=True):
            amount = 0 if take.period is CONCURRENT else used[rule.unit]  # the request has ended
            # A right estimate needs no change in a sliding window. In a calendar window it has to
            # be settled all the same: its reservation would expire, and the usage with it.
            if amount != take.cost or take.period.is_calendar:
                changes.append(
                    Change(take.name, take.period, window.period_number, take.cost, amount)
                )
                window.current = max(0, window.current + amount - take.cost)
        if changes:
            self.windows.change(changes, grant.reservation)
        grant.headers = headers(grant.rules, grant.windows)
        self.soft_limits.check(grant.rules, grant.windows)

    def _expected(self, request: EmbeddingRequest) -> Amounts:
        """Return what a request is expected to use of each unit; dollars at the highest price."""
        tokens = sum(map(estimate, request.items))
        dollars = self._prices.max_cost_of(request.model, tokens)
        return {"requests": 1, "tokens": tokens, "dollars": dollars}

    def _used(
        self, grant: Grant, outcome: Outcome | None, purchases: Mapping[Source, int]
    ) -> Amounts:
        """Return what a request has used of each unit; no dollars for a key without a budget."""
        used: Amounts = {"requests": 1, "tokens": 0, "dollars": 0}
        if outcome is not None:
            cached = 0 if self._count_cached else outcome.cached_tokens
            used["tokens"] = outcome.prompt_tokens - cached
        if purchases:
            for rule in grant.rules:
                if rule.unit == "dollars":
                    used["dollars"] = self._prices.cost_of(grant.model, purchases)
                    break
        return used

    def _charge_unchecked(self, grant: Grant, used: Amounts) -> None:
        """Charge days and months for a request whose take got no reply from the server.

        The server may have counted that take nevertheless. Its reservation then stays in the count
        until it expires.
        """
        now = self._clock()
        changes = [
            Change(take.name, take.period, take.period.span(now).number, 0, used[rule.unit])
            for rule, take in zip(grant.rules, grant.takes, strict=True)
            if take.period.is_calendar and used[rule.unit]
        ]
        if changes:
            self.windows.change(changes)
        ended = [Change(t.name, t.period, 0, 1, 0) for t in grant.takes if t.period is CONCURRENT]
        if ended:
            self.windows.change(ended, grant.reservation)

    def close(self) -> None:
        """Close the connections to the server that counts, if there is one."""
        self.windows.close()

    def _rules_of(self, caller: Caller) -> tuple[Rule, ...]:
        known = self._rules.get(caller.name)
        if known is not None and (known[0] is caller or known[0] == caller):
            return known[1]
        if len(self._rules) >= MAX_CALLERS_REMEMBERED:
            self._rules.clear()
        rules = rules_of(caller, self._periods)
        self._rules[caller.name] = (caller, rules)
        return rules


def make_limiter(settings: Settings) -> Limiter:
    """Make the limiter that the settings describe."""
    limits = settings.limits
    windows: Windows
    if limits.url is None:
        windows = MemoryWindows(settings.workers)
    else:
        from app.limits.counters.redis import SharedWindows

        windows = SharedWindows(limits.url, limits.namespace, limits.timeout)
    zone = zone_of(limits.timezone)
    refuses = limits.when_away == "refuse"
    webhook = None
    if settings.notify is not None:
        from app.limits.webhook import Webhook

        webhook = Webhook(settings.notify)
    return Limiter(
        windows,
        Prices(settings.models),
        limits.count_cached_tokens,
        zone,
        refuses,
        soft_limits=SoftLimits(windows, webhook, settings.keys),
    )
