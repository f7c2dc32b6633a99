"""Compares the counters of daily and monthly limits with the usage ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.config import Settings, UsageSettings
from app.domain import Caller
from app.limits.periods import Calendar, Span, zone_of
from app.limits.rules import Rule

if TYPE_CHECKING:
    from app.limits.counters.redis import SharedWindows


def reconciled(
    settings: Settings,
    usage: UsageSettings,
    windows: SharedWindows,
    callers: Iterable[Caller],
    is_applied: bool,
) -> list[dict[str, Any]] | None:
    """Return a row for each limit (`ledger_rules`), with its counter and the ledger's amount.

    With ``is_applied`` the counters are set to the ledger's amounts. Returns None if the server of
    the limits does not answer.
    """
    from app.cli.common import with_database
    from app.usage.reports.budgets import amount_in_ledger, ledger_rules

    zone = zone_of(settings.limits.timezone)
    limits = [(caller, rule) for caller in callers for rule in ledger_rules(caller, zone)]
    # One time for all rows: over midnight, the ledger's day and the counter's must be the same.
    now = time.time()

    def in_ledger(caller: Caller, rule: Rule, span: Span) -> int:
        from app.usage.store.store import ReportQuery, Store

        since_ms, until_ms = int(span.start * 1000), int(span.end * 1000)
        query = ReportQuery([], since_ms, until_ms, key=caller.name)
        sums = with_database(usage, lambda database: Store(database).report(query))
        return (
            amount_in_ledger(rule.unit, sums[0], settings.limits.count_cached_tokens) if sums else 0
        )

    rows = []
    for caller, rule in limits:
        assert isinstance(rule.period, Calendar)  # noqa: S101 - for mypy
        span = rule.period.span(now)
        used = in_ledger(caller, rule, span)
        replacement = used if is_applied else None
        counted = windows.reconcile(rule.name, rule.period, span, replacement)
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
