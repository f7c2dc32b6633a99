"""The calls at once that do not slow each other are learned from how long calls take."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.health.unslowed_calls import BASELINE_CALLS, UnslowedCalls

SECONDS = 0.05


def learned(calls_at_once, seconds, calls=500, known=None):
    """Return ``known``, or a new estimate, after it has learned from so many calls.

    ``calls_at_once`` is a function of the estimate, and the ``seconds`` of a call one of those.
    """
    known = known or UnslowedCalls()
    for number in range(calls):
        at_once = calls_at_once(known.most)
        known.learn(at_once, 1 + number % 3, 8, seconds(at_once))
    return known


def as_many(most):
    return min(64, int(most))


@pytest.mark.parametrize("seed", range(5))
def test_counts_up_to_the_calls_that_are_made(seed):
    rng = random.Random(seed)
    known = learned(as_many, lambda _: SECONDS * rng.lognormvariate(0, 0.2))
    assert known.most >= 64


@pytest.mark.parametrize("capacity", [8, 16, 32])
def test_stays_near_the_calls_of_a_provider_that_is_not_filled(capacity):
    """Calls that do not wait for each other show little of what more calls would do."""
    known = learned(lambda most: min(capacity, int(most)), lambda _: SECONDS)
    assert known.most <= 1.4 * capacity + 2


@pytest.mark.parametrize("capacity", [1, 8, 16])
def test_stays_near_the_calls_that_a_provider_works_on(capacity):
    known = learned(as_many, lambda at_once: SECONDS * max(1.0, at_once / capacity))
    assert known.most <= 1.5 * max(BASELINE_CALLS, capacity) + 2
    assert known.most >= max(BASELINE_CALLS, capacity)


def test_counts_down_for_a_provider_that_works_on_fewer_calls_than_before():
    known = learned(as_many, lambda _: SECONDS)
    learned(as_many, lambda at_once: SECONDS * max(1.0, at_once / 8), 100, known)
    assert known.most <= 16


def test_a_provider_that_has_become_slower_for_all_calls_is_learned_anew():
    known = learned(as_many, lambda _: SECONDS)
    learned(as_many, lambda _: 3 * SECONDS, 2000, known)
    assert known.most >= 4 * BASELINE_CALLS


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 500), st.floats(0, 100))))
def test_is_at_least_the_baseline_and_grows_only_with_the_calls_that_are_made(calls):
    known = UnslowedCalls()
    for at_once, items, seconds in calls:
        before = known.most
        known.learn(at_once, items, 8 * items, seconds)
        assert known.most >= BASELINE_CALLS
        assert known.most <= max(before, at_once * 4 / 3 + 1)
