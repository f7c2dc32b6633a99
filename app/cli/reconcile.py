"""Limits of days and months held against the usage ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.config import Settings, UsageSettings
from app.domain import Caller
from app.limits.kinds import Rule, make_periods, rules_of
from app.limits.periods import Calendar, zone_of

if TYPE_CHECKING:
    from app.limits.redis import SharedWindows


def reconciled(
    settings: Settings,
    usage: UsageSettings,
    windows: SharedWindows,
    callers: Iterable[Caller],
    is_applied: bool,
) -> list[dict[str, Any]] | None:
    """A row for each limit: what is counted and what the ledger says; None without an answer.

    With ``is_applied`` the ledger's amount is counted from now on.
    """
    from app.cli.usage import with_database

    periods = make_periods(zone_of(settings.limits.timezone))
    asked = [
        (caller, rule)
        for caller in callers
        for rule in rules_of(caller, periods)
        if isinstance(rule.period, Calendar)
    ]
    now = time.time()

    def in_ledger(caller: Caller, rule: Rule) -> int:
        from app.usage.store import Question, Store

        since_ms = int(rule.period.span(now).start * 1000)
        question = Question([], since_ms, int(now * 1000) + 1, key=caller.name)
        sums = with_database(usage, lambda database: Store(database).report(question))
        return _amount(rule, sums[0], settings.limits.count_cached_tokens) if sums else 0

    rows = []
    for caller, rule in asked:
        assert isinstance(rule.period, Calendar)  # noqa: S101 - for mypy
        used = in_ledger(caller, rule)
        counted = windows.reconcile(rule.name, rule.period, used if is_applied else None)
        if counted is None:
            return None
        rows.append(
            {
                "key": caller.name,
                "limit": rule.setting,
                "counted": rule.amount(counted),
                "ledger": rule.amount(used),
                "difference": rule.amount(used - counted),
                "set": "yes" if is_applied and used != counted else "no",
            }
        )
    return rows


def _amount(rule: Rule, sums: dict[str, Any], count_cached: bool) -> int:
    """What a limit counts of the ledger's sums: tokens, or billionths of a dollar."""
    if rule.what == "dollars":
        return int(sums["cost"])
    return int(sums["prompt_tokens"] - (0 if count_cached else sums["cached_tokens"]))
