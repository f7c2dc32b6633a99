"""The calls at once that do not slow each other are learned from how long calls take."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.health.unslowed_calls import BASELINE_CALLS, UnslowedCalls

SECONDS = 0.05


class Traffic:
    """As many calls at once as the estimate allows, at most 64, in virtual time."""

    def __init__(self):
        self.known = UnslowedCalls()
        self.now = 1000.0

    def run(self, seconds_of, until):
        """Learn from calls for so many seconds; return the calls at once of each.

        ``seconds_of`` is a function of the calls at once: how long a call takes.
        """
        made, until = [], self.now + until
        while self.now < until:
            at_once = min(64, int(self.known.most))
            seconds = seconds_of(at_once)
            self.now += seconds / at_once
            self.known.learn(at_once, 1 + len(made) % 3, 8, seconds, self.now)
            made.append(at_once)
        return made


def working_on(capacity, seconds=SECONDS):
    return lambda at_once: seconds * max(1.0, at_once / capacity)


def test_rises_within_seconds_to_the_calls_that_are_made():
    assert Traffic().run(lambda _: SECONDS, 5)[-1] == 64


@pytest.mark.parametrize("noise", [0.2, 0.3, 0.4])
def test_rises_also_where_calls_take_very_different_times(noise):
    """By log-normal noise. In a few of many seeds, a chance of slow calls keeps it low for long."""
    means = []
    for seed in range(12):
        draw = random.Random(seed).lognormvariate
        calls = Traffic().run(lambda _, draw=draw: SECONDS * draw(0, noise), 60)
        means.append(statistics.mean(calls[len(calls) // 2 :]))
    assert statistics.median(means) >= 56


@pytest.mark.parametrize("capacity", [8, 12, 16, 24, 32])
def test_is_seldom_above_the_calls_that_a_provider_works_on(capacity):
    calls = Traffic().run(working_on(capacity), 120)[2000:]
    assert 0.6 * capacity <= statistics.mean(calls) <= capacity + 1
    assert sum(at_once > 1.2 * capacity for at_once in calls) <= 0.05 * len(calls)


def test_does_not_rise_where_each_call_makes_all_others_slower():
    assert statistics.mean(Traffic().run(working_on(1), 120)) <= BASELINE_CALLS + 1


def test_falls_at_once_where_a_provider_works_on_fewer_calls_than_before():
    traffic = Traffic()
    traffic.run(lambda _: SECONDS, 10)
    assert max(traffic.run(working_on(8), 5)[-20:]) <= 10


def test_rises_again_where_a_provider_works_on_more_calls_than_before():
    traffic = Traffic()
    traffic.run(working_on(8), 300)
    traffic.run(lambda _: SECONDS, 90)
    assert traffic.known.most >= 64


def test_a_provider_that_has_become_slower_for_all_calls_is_learned_anew():
    traffic = Traffic()
    traffic.run(lambda _: SECONDS, 10)
    traffic.run(lambda _: 3 * SECONDS, 300)
    assert traffic.known.most >= 4 * BASELINE_CALLS


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 500), st.floats(0, 100))))
def test_is_at_least_the_baseline_and_rises_only_with_the_calls_that_are_made(calls):
    known, now = UnslowedCalls(), 1000.0
    for at_once, items, seconds in calls:
        before, now = known.most, now + seconds
        known.learn(at_once, items, 8 * items, seconds, now)
        assert known.most >= BASELINE_CALLS
        assert known.most <= max(before, 2 * at_once + 1)
