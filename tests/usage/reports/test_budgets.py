"""What is left of budgets: the sums of the ledger, and the time at which they run out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Caller
from app.limits.periods import zone_of
from app.usage.reports.budgets import PACE_S, budgets_of, sums_by_key
from tests.usage.conftest import row

DAY_S = 86_400
NOW = datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp()
MARCH = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
APRIL = datetime(2026, 4, 1, tzinfo=UTC).timestamp()


def budgets(store, *callers, zone="UTC", count_cached=True, key=None):
    sums = sums_by_key(store.report, key)
    return budgets_of(callers, zone_of(zone), count_cached, sums, NOW)


def rows(*amounts, **values):
    """Return rows of (seconds before now, tokens)."""
    return [
        row(n, time=int((NOW - ago) * 1000), prompt_tokens=tokens, **{"cached_tokens": 0, **values})
        for n, (ago, tokens) in enumerate(amounts)
    ]


def test_used_and_left_are_of_the_period(store):
    store.insert(rows((60, 100), (5 * DAY_S, 200), (11 * DAY_S, 4000), key="a"))
    (budget,) = budgets(store, Caller("a", tokens_per_month=1000), Caller("b"))
    assert (budget.key, budget.setting, budget.period) == ("a", "tokens_per_month", "month")
    assert (budget.limit, budget.used, budget.remaining) == (1000, 300, 700)
    assert (budget.resets, budget.used_share) == (APRIL, 0.3)
    assert budget.per_second == pytest.approx(300 / PACE_S["month"])
    # 700 more at 300 a week: after 16.3 days, before April.
    assert budget.runs_out == pytest.approx(NOW + 7 / 3 * 7 * DAY_S)


def test_budget_that_lasts_does_not_run_out(store):
    store.insert(rows((60, 100), key="a"))
    (budget,) = budgets(store, Caller("a", tokens_per_month=1000))
    assert budget.runs_out is None
    (unused,) = budgets(store, Caller("b", dollars_per_month=5.0))
    assert (unused.used, unused.remaining, unused.runs_out) == (0, 5.0, None)


def test_budget_that_is_used_up_has_run_out(store):
    store.insert(rows((60, 1001), key="a"))
    (budget,) = budgets(store, Caller("a", tokens_per_day=1000))
    assert (budget.remaining, budget.runs_out) == (0, NOW)


def test_day_begins_in_the_time_zone_and_its_pace_is_of_hours(store):
    store.insert(rows((60, 10), (11 * 3600, 20), (14 * 3600, 40), key="a"))
    caller = Caller("a", tokens_per_day=70)
    assert budgets(store, caller)[0].used == 30
    (budget,) = budgets(store, caller, zone="Asia/Tokyo")  # where it is 21:00
    assert (budget.used, budget.resets) == (70, NOW + 3 * 3600)
    assert budgets(store, caller)[0].per_second == pytest.approx(10 / PACE_S["day"])


def test_dollars_and_cached_tokens_count_as_limits_count_them(store):
    store.insert(rows((60, 100), key="a", cost=1_500_000_000, cached_tokens=40))
    caller = Caller("a", tokens_per_day=1000, dollars_per_month=6.0, requests_per_minute=5)
    found = {b.setting: b.used for b in budgets(store, caller)}
    assert found == {"tokens_per_day": 100, "dollars_per_month": 1.5}
    found = {b.setting: b.used for b in budgets(store, caller, count_cached=False)}
    assert found == {"tokens_per_day": 60, "dollars_per_month": 1.5}


def test_those_that_run_out_first_come_first(store):
    store.insert(rows((60, 900), key="a") + rows((50, 1), (40, 990), key="b", writer="w2"))
    callers = [Caller(name, tokens_per_month=1000) for name in ("c", "a", "b")]
    assert [b.key for b in budgets(store, *callers)] == ["b", "a", "c"]
    assert [b.key for b in budgets(store, callers[1], key="a")] == ["a"]


@given(st.integers(1, 10**9), st.integers(0, 2 * 10**9), st.integers(0, 2 * 10**9), st.booleans())
def test_runs_out_lies_between_now_and_the_reset(limit, used, recent, is_day):
    def sums(since, until):
        assert until == NOW
        amount = recent if since == NOW - PACE_S["day" if is_day else "month"] else used
        return {"a": {"prompt_tokens": amount, "cached_tokens": 0}}

    setting = "tokens_per_day" if is_day else "tokens_per_month"
    (budget,) = budgets_of([Caller("a", **{setting: limit})], UTC, True, sums, NOW)
    assert budget.remaining == max(0, limit - used)
    if budget.runs_out is not None:
        assert NOW <= budget.runs_out < budget.resets
        at = used + budget.per_second * (budget.runs_out - NOW)
        assert used >= limit or at == pytest.approx(limit)
    else:
        assert used + budget.per_second * (budget.resets - NOW) <= limit * (1 + 1e-9)
