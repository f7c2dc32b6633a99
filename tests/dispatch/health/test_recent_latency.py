"""The latency of a deployment, learned from its answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.health.recent_calls import Latency


def learned(*seconds, items=1):
    latency = Latency()
    for value in seconds:
        latency.add(items, value, 0.0)
    return latency


def test_p95_is_none_until_enough_answers():
    assert Latency().average is None
    assert learned(*[0.1] * 9).p95_s(1) is None
    assert learned(*[0.1] * 10).p95_s(1) == 0.1


def test_one_slow_call_does_not_raise_p95():
    assert learned(*[0.1] * 30, 9.0).p95_s(1) == 0.1


def test_size_classes_have_separate_p95():
    latency = learned(*[2.0] * 20, items=1000)
    assert latency.p95_s(1) is None
    assert latency.p95_s(1000) == 2.0
    assert latency.p95_s(900) == 2.0  # of about that size


def test_old_latencies_are_dropped():
    latency = learned(*[5.0] * 100, *[0.1] * 100)
    assert latency.p95_s(1) == 0.1
    assert latency.average == pytest.approx(0.1)


@given(st.lists(st.floats(0.001, 60), min_size=10, max_size=200), st.integers(1, 3000))
def test_average_and_p95_lie_between_extremes(seconds, items):
    latency = learned(*seconds, items=items)
    assert min(seconds) * 0.999 <= latency.average <= max(seconds) * 1.001
    kept = sorted(seconds[-100:])
    assert kept[0] <= latency.p95_s(items) <= kept[-1]
    later = sum(value > latency.p95_s(items) for value in kept)
    assert later <= 0.05 * len(kept)
