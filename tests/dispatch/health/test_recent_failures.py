"""The failure rate looks back one to two windows, and is 0 while the calls are too few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.recent_calls import FailureRate
from tests.dispatch.parts import T

SETTINGS = DispatchSettings()
CALLS = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60)


@given(CALLS)
def test_it_counts_all_calls_of_the_last_window_and_none_older_than_two(calls):
    rate, now, ended = FailureRate(SETTINGS), T, []
    for pause, failed in calls:
        now += pause
        rate.count(now, failed)
        ended.append((now, failed))
    value = rate.value(now)
    assert 0 <= value <= 1
    recent = [failed for at, failed in ended if at > now - 2 * SETTINGS.rate_window]
    if len(recent) < SETTINGS.min_calls or not any(recent):
        assert value == 0
    if len(recent) == len(ended) >= SETTINGS.min_calls and now - T < SETTINGS.rate_window:
        assert value == pytest.approx(sum(recent) / len(recent))


def test_it_forgets_when_it_is_reset():
    rate = FailureRate(SETTINGS)
    for _ in range(SETTINGS.min_calls):
        rate.count(T, failed=True)
    assert rate.value(T) == 1
    rate.reset(T)
    assert rate.value(T) == 0
