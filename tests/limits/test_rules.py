"""The names of limits, their units and periods, and the order that numbers their counters."""

import runpy
from itertools import product

import pytest

from app.config.sections import keys
from app.limits import rules
from app.limits.rules import (
    HEADER_UNITS,
    LIMIT_NAMES,
    NO_AMOUNTS,
    PERIODS,
    UNITS,
    Amounts,
    counters_of,
    make_periods,
    parse_limit,
    rules_of,
)
from tests.limits.new_limits import NewCaller, declare

#: Append a new limit; any other order gives running keys the counters of other limits.
ORDER = [
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "dollars_per_month",
    "user_requests_per_minute",
    "user_tokens_per_minute",
    "concurrent_requests",
]


def test_order_of_limits_is_that_of_the_counters_in_redis():
    assert [limit.setting for limit in LIMIT_NAMES] == ORDER


def test_counters_are_numbered_by_the_order_of_limits():
    caller = NewCaller("team", **dict.fromkeys(ORDER, 1))
    names = [rule.name for rule in rules_of(caller, make_periods())]
    assert names == [f"{counters_of(caller)}{place}" for place in range(len(ORDER))]


def test_every_unit_has_amounts():
    assert tuple(Amounts.__annotations__) == UNITS
    assert tuple(NO_AMOUNTS) == UNITS
    assert HEADER_UNITS == ("requests", "tokens")


@pytest.mark.parametrize(("unit", "period", "of"), [*product(UNITS, PERIODS, ("", "user_"))])
def test_name_of_a_limit_says_its_unit_and_period(unit, period, of):
    name = f"{of}{unit}_per_{period}"
    assert parse_limit(name) == (name, unit, period, bool(of))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("unknowns_per_day", "unit 'unknowns'"),
        ("tokens_per_week", "period 'week'"),
        ("tokens_a_day", "unit 'tokens_a_day'"),
        ("tokens_per_day_per_month", "period 'day_per_month'"),
        ("user_user_tokens_per_day", "unit 'user_tokens'"),
    ],
)
def test_unknown_unit_or_period_is_an_error_that_names_the_field(name, wrong):
    with pytest.raises(ValueError, match=f"^KeySettings.{name}: unknown {wrong} of a limit") as got:
        parse_limit(name)
    assert str(got.value).endswith("units: requests, tokens, dollars; periods: minute, day, month")


def test_unknown_unit_is_an_error_at_import(monkeypatch):
    monkeypatch.setattr(keys, "KEY_LIMITS", (*keys.KEY_LIMITS, "unknowns_per_day"))
    with pytest.raises(ValueError, match=r"KeySettings\.unknowns_per_day"):
        runpy.run_path(rules.__file__)


def test_limits_of_end_users_have_no_soft_limit(monkeypatch):
    declare(monkeypatch)
    caller = NewCaller("team", tokens_per_day=9, user_tokens_per_day=9, warn_at=0.5)
    found = rules_of(caller, make_periods())
    assert [(rule.setting, rule.warn_at) for rule in found] == [
        ("tokens_per_day", 0.5),
        ("user_tokens_per_day", None),
    ]
