"""What is left of the limits of days and months of keys, and when they run out at this pace.

The figures are the ledger's: they have the usage of all workers and hosts, a second or two late,
and not the reservations of requests in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from app.domain import Caller
from app.limits.periods import Calendar, Span
from app.limits.rules import Rule, Unit, make_periods, rules_of
from app.usage.store.queries import ReportQuery

#: Seconds before now whose usage is the pace, by the period of a limit.
PACE_S = {"day": 3 * 3600.0, "month": 7 * 86_400.0}

#: Keys that a report names: a statement may have 32,766 values, and a report has three parts.
MAX_KEYS_NAMED = 5_000

#: Returns the ledger's sums (see `ReportQuery`) of a time in seconds, by key.
Sums = Callable[[float, float], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of a day or a month of a key: tokens or dollars. Times in seconds since 1970."""

    key: str
    setting: str  # as in KEYS
    unit: Unit
    period: str  # "day" or "month"
    limit: float
    used: float
    resets: float
    per_second: float  # the pace
    runs_out: float | None  # at this pace; None: not before it resets

    @property
    def remaining(self) -> float:
        return max(0.0, self.limit - self.used)

    @property
    def used_share(self) -> float:
        return self.used / self.limit


def budgets_of(
    callers: Iterable[Caller], zone: tzinfo, count_cached: bool, sums: Sums, now: float
) -> list[Budget]:
    """Return the budgets of these callers, those that run out first before the others.

    Limits of end users are left out: a key may have any number of them. ``sums`` is asked once for
    each period, and once for the pace of it.
    """
    rules = list(_rules(callers, zone))
    found = []
    for name, pace_s in PACE_S.items():
        of_period = [rule for rule in rules if rule.period.name == name]
        if not of_period:
            continue
        span = of_period[0].period.span(now)
        used, recent = sums(span.start, now), sums(now - pace_s, now)
        for rule in of_period:
            amounts = [
                _amount(rule, by_key.get(rule.key_name), count_cached) for by_key in (used, recent)
            ]
            found.append(_budget(rule, span, amounts[0], amounts[1] / pace_s, now))
    return sorted(found, key=lambda b: (b.runs_out or float("inf"), -b.used_share, b.key))


def sums_by_key(
    report: Callable[[ReportQuery], list[dict[str, Any]]],
    key: str | None,
    names: Collection[str] = (),
) -> Sums:
    """Return a function for `budgets_of` that makes reports, of one key only unless it is None.

    ``names`` are the keys that have budgets: a report has a limited number of groups, of which the
    callers of an identity provider may be many. More than `MAX_KEYS_NAMED` are not named.
    """
    only = {"key": list(names)} if 0 < len(names) <= MAX_KEYS_NAMED else {}

    def sums(since: float, until: float) -> dict[str, Mapping[str, Any]]:
        query = ReportQuery(["key"], int(since * 1000), int(until * 1000) + 1, key=key, only=only)
        return {row["key"]: row for row in report(query)}

    return sums


def amount_in_ledger(unit: Unit, sums: Mapping[str, Any], count_cached: bool) -> int:
    """Return the ledger's amount of a unit; dollars in billionths. Raises for other units."""
    if unit == "dollars":
        return int(sums["cost"])
    if unit == "tokens":
        return int(sums["prompt_tokens"] - (0 if count_cached else sums["cached_tokens"]))
    raise ValueError(f"the ledger has no amount that a limit of {unit} counts")


def ledger_rules(caller: Caller, zone: tzinfo) -> list[Rule]:
    """Return the limits of a caller that the ledger has the amounts of.

    Two kinds are left out: (1) of requests, as the ledger also has rows of requests that no limit
    counted, such as refused ones; (2) of end users, whose counters have digests as names.
    """
    return [
        rule
        for rule in rules_of(caller, make_periods(zone))
        if isinstance(rule.period, Calendar) and rule.unit != "requests" and not rule.is_per_user
    ]


def _rules(callers: Iterable[Caller], zone: tzinfo) -> Iterator[Rule]:
    for caller in callers:
        yield from ledger_rules(caller, zone)


def _amount(rule: Rule, sums: Mapping[str, Any] | None, count_cached: bool) -> float:
    return 0.0 if sums is None else rule.amount(amount_in_ledger(rule.unit, sums, count_cached))


def _budget(rule: Rule, span: Span, used: float, per_second: float, now: float) -> Budget:
    limit = rule.amount(rule.limit)
    runs_out = None
    if used >= limit:
        runs_out = now
    elif per_second > 0:
        at = now + (limit - used) / per_second
        runs_out = at if at < span.end else None
    return Budget(
        rule.key_name,
        rule.setting,
        rule.unit,
        rule.period.name,
        limit,
        used,
        span.end,
        per_second,
        runs_out,
    )
