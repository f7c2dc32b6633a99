"""Faults in virtual time: their effects on callers, and recovery."""

import itertools
from collections import Counter

import pytest

from tests.dispatch.members import (
    between,
    dead,
    failing,
    flapping,
    good,
    lying,
    refusing,
    silent,
    throttling,
)
from tests.dispatch.simulator import simulated

START = 1000.0  # the clock of the simulation, at first
FOR_EVER = float("inf")


def models(*names, **settings):
    return {"m": [{"provider": name, **settings} for name in names]}


AB, ABC = models("a", "b"), models("a", "b", "c")


def load(run, number, every, after=0.0, **fields):
    """Request at regular times, with one item each."""
    return [run.ask("m", [f"{after} {i}"], after + i * every, **fields) for i in range(number)]


def from_second(start, ill, stop=FOR_EVER):
    return between(START + start, START + stop, ill, good())


def shares(run, start, stop=FOR_EVER):
    """Count the calls of each deployment that began between two times."""
    return {
        name: sum(START + start <= call.began < START + stop for call in member.seen)
        for name, member in run.members.items()
    }


def slowest(asked):
    return max(one.heard - one.at for one in asked)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "ill",
    [failing(0.3), failing(1), dead, refusing, lying, throttling(5), throttling(5, 10)],
    ids=["30 %", "503", "dead", "refusing", "lying", "429", "429 with Retry-After"],
)
def test_one_failing_of_two_fails_no_request(ill, seed):
    with simulated({"a": from_second(2, ill), "b": good()}, AB, seed=seed) as run:
        asked = load(run, 2000, 0.01)
        run.to_the_end()
        run.check_budget()
        assert not run.errors()
        assert slowest(asked) < 0.5


@pytest.mark.parametrize("ill", [failing(1), dead, refusing, lying], ids=lambda f: f.__name__)
def test_failing_deployment_is_ejected_soon(ill):
    with simulated({"a": ill, "b": good()}, AB) as run:
        load(run, 6000, 0.01)
        run.to_the_end()
        assert shares(run, 5, 60)["a"] <= 12


@pytest.mark.parametrize(
    "ill",
    [
        dead,
        refusing,
        pytest.param(failing(1), id="503"),
        lying,
    ],
)
def test_two_failing_of_three_fail_no_request(ill):
    members = {"a": from_second(2, ill), "b": from_second(3, ill), "c": good()}
    with simulated(members, ABC) as run:
        load(run, 2000, 0.02)
        run.to_the_end()
        assert not run.errors()


def test_callers_wait_at_most_two_seconds_for_a_silent_deployment():
    with simulated({"a": from_second(5, silent), "b": good()}, AB) as run:
        load(run, 3000, 0.01)
        run.to_the_end()
        assert not run.errors()
        assert slowest(run.asked) < 2.3
        late = [one for one in run.asked if one.at > START + 10 and one.heard - one.at > 1]
        assert len(late) <= 10  # probes, of 2,000


def test_flapping_for_hours_fails_no_request():
    """Two hours, one request a second."""
    members = {"a": flapping(300, 40), "b": flapping(100, 10, failing(1), 30), "c": good(0.2)}
    with simulated(members, ABC) as run:
        load(run, 2 * 3600, 1.0)
        run.to_the_end()
        run.check_budget()
        assert not run.errors()
        assert run.world.now > START + 2 * 3600 - 2
        assert min(shares(run, 0).values()) > 100


def test_next_tier_serves_only_while_the_first_fails():
    settings = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    with simulated({"a": from_second(10, dead, 20), "b": good()}, settings) as run:
        load(run, 4000, 0.01)
        run.to_the_end()
        assert not run.errors()
        assert shares(run, 0, 10)["b"] == 0
        assert shares(run, 11, 20)["b"] > 850
        assert shares(run, 30)["b"] == 0  # the last ejection was some seconds long


def test_after_total_outage_first_recovery_is_found_within_two_seconds():
    members = {"a": from_second(5, dead), "b": from_second(5, dead, 30)}
    with simulated(members, AB) as run:
        load(run, 2000, 0.02)
        run.to_the_end()
        away = [one for one in run.asked if START + 8 < one.at < START + 30]
        assert {one.code for one in away} == {"no_provider_available"}
        assert slowest(away) < 0.05
        assert all(0 < one.error.retry_after <= 2 for one in away)
        assert all(one.outcome for one in run.asked if one.at > START + 32)


def test_retry_after_is_respected():
    """For ten minutes each call gets Retry-After 30; one call in 30 s is made."""
    with simulated({"a": throttling(0, 30), "b": good()}, AB) as run:
        load(run, 6000, 0.1)
        run.to_the_end()
        assert not run.errors()
        began = [call.began for call in run.calls("a")]
        assert 15 <= len(began) <= 21
        assert min(b - a for a, b in itertools.pairwise(began)) >= 30


def test_quotas_are_kept_without_a_429():
    settings = {"m": [{"provider": "a", "requests_per_minute": 60}, {"provider": "b"}]}
    with simulated({"a": good(), "b": good()}, settings) as run:
        load(run, 3000, 0.1)
        run.to_the_end()
        assert not run.errors()
        assert 250 <= shares(run, 0)["a"] <= 301


def test_excess_requests_are_refused_at_once_and_others_served():
    with simulated({"a": good(0.1)}, models("a"), concurrency=2, merge=False, waiting=50) as run:
        crowd = load(run, 300, 0.0001)
        later = load(run, 50, 0.1, after=10)
        run.to_the_end()
        assert Counter(one.code for one in crowd)["overloaded"] == 300 - 52
        assert slowest([one for one in crowd if one.error]) < 0.01
        assert all(one.error.retry_after for one in crowd if one.error)
        assert all(one.outcome for one in later)


def test_merging_serves_an_overload_of_single_texts():
    """600 requests a second, 4 slots of 50 ms: at most eighty calls a second."""
    with simulated({"a": good(0.05)}, models("a"), concurrency=4) as run:
        load(run, 6000, 1 / 600)
        run.to_the_end()
        assert not run.errors()
        assert slowest(run.asked) < 0.15
        assert len(run.calls()) < 10 * 4 / 0.04


def test_busy_model_does_not_starve_another_model():
    """Two models share a provider's slots; one has 50 times as many requests."""
    both = {"m": [{"provider": "a"}], "n": [{"provider": "a"}]}
    with simulated({"a": good(0.1)}, both, concurrency=1, merge=False, waiting=5000) as run:
        load(run, 500, 0.01, timeout=600)
        few = [run.ask("n", [f"n{i}"], after=0.5 * i) for i in range(10)]
        run.to_the_end()
        assert not run.errors()
        waits = sorted((one.at, one.heard) for one in run.asked)
        assert [heard for _, heard in waits] == pytest.approx(
            sorted(one.heard for one in run.asked), abs=0.5
        )
        assert slowest(few) < 50


def test_a_slow_answer_is_hedged_within_five_percent():
    def tail(world, call):
        return 1.5 if world.rng.random() < 0.02 else world.rng.uniform(0.03, 0.07), None

    p99 = {}
    for hedge in (False, True):
        with simulated({"a": tail, "b": tail}, AB, hedge=hedge) as run:
            load(run, 5000, 0.02)
            run.to_the_end()
            assert not run.errors()
            p99[hedge] = sorted(one.heard - one.at for one in run.asked)[int(0.99 * 5000)]
            assert len(run.calls()) <= 5000 * 1.05 + 1
    assert p99[False] > 1.4
    assert p99[True] < 0.2


def test_rarely_used_deployment_is_hedged_by_latency_of_the_others():
    weights = [{**models("a")["m"][0], "weight": 50}, *models("b")["m"]]
    with simulated({"a": good(0.05), "b": good(20)}, {"m": weights}, hedge=True) as run:
        load(run, 500, 0.1)
        run.to_the_end()
        assert not run.errors()
        assert 0 < len(run.calls("b")) < 10
        assert all(one.heard - one.at < 2.3 for one in run.asked)  # one was late: no budget


def test_an_item_that_is_being_embedded_is_waited_for():
    with simulated({"a": good(1)}, models("a"), caching=True) as run:
        for i in range(64):
            run.ask("m", ["the same", "the same", f"{i % 4}"], after=i * 0.01)
        run.to_the_end()
        assert sorted(item for call in run.calls() for item in call.items) == sorted(
            ["the same", "0", "1", "2", "3"]
        )


def test_failed_load_wakes_all_waiters():
    ill_at_first = between(START, START + 0.6, failing(1, 0.5), good())
    with simulated({"a": ill_at_first}, models("a"), caching=True) as run:
        asked = [run.ask("m", ["x"], after=i * 0.01, timeout=30) for i in range(20)]
        run.to_the_end()
        assert all(one.outcome for one in asked)
        assert slowest(asked) < 3


@pytest.mark.parametrize("merge", [False, True])
def test_time_in_the_queue_does_not_count_for_the_providers_timeout(merge):
    """A call takes 40 s, the timeout is 60 s: the second and third in the queue wait longer."""
    with simulated({"a": good(40)}, models("a", max_inputs=1), concurrency=1, merge=merge) as run:
        load(run, 5, 0.01)
        run.to_the_end()
        assert not run.errors()
