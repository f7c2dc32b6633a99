"""The expected seconds of a call: fitted for its size, bounded, robust."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.health.call_durations import CallDurations

_sizes = st.integers(1, 2048)
_calls = st.tuples(_sizes, st.integers(0, 100_000), st.floats(1e-6, 600))


def test_unknown_before_first_call():
    assert CallDurations().expected_s(1, 1) is None


def test_fits_seconds_of_a_call_and_of_an_item():
    durations, rng = CallDurations(), random.Random(1)
    for _ in range(200):
        items = rng.choice([1, 2, 8, 64])
        durations.add(items, items * rng.randint(5, 15), 0.010 + 0.002 * items)
    for items in (1, 16, 64, 128):
        assert durations.expected_s(items, 10 * items) == pytest.approx(
            0.010 + 0.002 * items, rel=0.1
        )


def test_fits_seconds_of_a_token():
    durations, rng = CallDurations(), random.Random(1)
    for _ in range(200):
        tokens = rng.randint(5, 500)
        durations.add(1, tokens, 0.001 + 0.0001 * tokens)
    assert durations.expected_s(1, 1000) == pytest.approx(0.101, rel=0.1)


def test_noise_of_large_calls_does_not_hide_small_ones():
    durations, rng = CallDurations(), random.Random(1)
    for _ in range(300):
        items = rng.choice([1, 64])
        durations.add(items, 10 * items, (0.004 + 0.002 * items) * rng.uniform(0.7, 1.3))
    assert durations.expected_s(1, 10) == pytest.approx(0.006, rel=0.2)
    assert durations.expected_s(64, 640) == pytest.approx(0.132, rel=0.2)


def test_constant_size_is_split_between_the_terms():
    durations = CallDurations()
    for _ in range(100):
        durations.add(8, 80, 0.3)
    assert durations.expected_s(8, 80) == pytest.approx(0.3, rel=0.01)
    assert durations.expected_s(16, 160) == pytest.approx(0.5, rel=0.01)


def test_follows_a_change():
    durations = CallDurations()
    for seconds, calls in ((0.1, 200), (0.8, 60), (0.1, 150)):
        for number in range(calls):
            items = 1 + number % 4
            durations.add(items, items, seconds * items)
        assert durations.expected_s(4, 4) == pytest.approx(4 * seconds, rel=0.4)


def test_one_slow_call_is_no_change():
    durations = CallDurations()
    for number in range(100):
        durations.add(1 + number % 4, 10, 0.1)
    durations.add(2, 10, 60.0)
    assert durations.expected_s(2, 10) < 0.125


def test_slow_first_call_is_forgotten_soon():
    durations = CallDurations()
    durations.add(1, 10, 30.0)  # a model is loaded at its first call
    for _ in range(10):
        durations.add(1, 10, 0.1)
    assert durations.expected_s(1, 10) < 0.5


def test_share_of_a_call_that_its_size_does_not_change():
    durations = CallDurations()
    assert durations.fixed_share(1, 10) == 0
    for number in range(200):
        items = 1 + number % 16
        durations.add(items, 10 * items, 0.030 + 0.010 * items)
    assert durations.fixed_share(1, 10) == pytest.approx(0.75, rel=0.05)
    assert durations.fixed_share(9, 90) == pytest.approx(0.25, rel=0.1)


@given(st.lists(_calls, min_size=1, max_size=30), _sizes, _sizes)
def test_positive_and_never_less_for_a_larger_call(calls, items, more):
    durations = CallDurations()
    for call in calls:
        durations.add(*call)
    small, large = (
        durations.expected_s(items, 10 * items),
        durations.expected_s(items + more, 10 * items),
    )
    assert 0 < small <= large
