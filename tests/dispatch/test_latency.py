"""What is usual for a deployment, learned from its answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.latency import Latency


def learned(*seconds, items=1):
    latency = Latency()
    for value in seconds:
        latency.add(items, value)
    return latency


def test_nothing_is_said_before_enough_is_known():
    assert Latency().average is None
    assert learned(*[0.1] * 9).p95(1) is None
    assert learned(*[0.1] * 10).p95(1) == 0.1


def test_a_lone_straggler_does_not_make_lateness_usual():
    assert learned(*[0.1] * 30, 9.0).p95(1) == 0.1


def test_large_calls_say_nothing_about_small_ones():
    latency = learned(*[2.0] * 20, items=1000)
    assert latency.p95(1) is None
    assert latency.p95(1000) == 2.0
    assert latency.p95(900) == 2.0  # of about that size


def test_what_was_usual_long_ago_is_forgotten():
    latency = learned(*[5.0] * 100, *[0.1] * 100)
    assert latency.p95(1) == 0.1
    assert latency.average == pytest.approx(0.1)


@given(st.lists(st.floats(0.001, 60), min_size=10, max_size=200), st.integers(1, 3000))
def test_both_lie_between_the_fastest_and_the_slowest(seconds, items):
    latency = learned(*seconds, items=items)
    assert min(seconds) * 0.999 <= latency.average <= max(seconds) * 1.001
    kept = sorted(seconds[-100:])
    assert kept[0] <= latency.p95(items) <= kept[-1]
    later = sum(value > latency.p95(items) for value in kept)
    assert later <= 0.05 * len(kept)
