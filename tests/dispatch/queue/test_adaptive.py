"""The adaptive limit finds the calls that an engine computes at once, and follows it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.queue.adaptive import AdaptiveLimit
from tests.dispatch.queue.engine import Engine, first, run, throughput

EIGHT = Engine(lambda at: 8, noise=0.3)
SETTLED_S = 15.0


def limit(workers=1, low=1, high=256):
    return AdaptiveLimit(low, high, workers)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_settles_at_the_capacity(noise, seed):
    engine = Engine(lambda at: 8, noise=noise)
    moments = run(engine, [limit()], 60, seed=seed)
    limits = [moment.limits[0] for moment in moments if moment.at > SETTLED_S]
    assert min(limits) >= 6
    assert max(limits) <= 12
    assert throughput(moments, SETTLED_S) >= 0.94 * throughput(run(engine, [8], 60), SETTLED_S)


def test_follows_the_capacity_up_and_down():
    engine = Engine(lambda at: 32 if 20 < at < 50 else 8, noise=0.3)
    moments = run(engine, [limit()], 90)
    assert first(moments, 20, lambda now: now >= 26) < 2_000
    assert first(moments, 50, lambda now: now <= 11) < 5_000
    in_between = [m for m in moments if 30 < m.at < 50]
    assert throughput(in_between, 30) >= 0.9 * 32 / 0.05


@pytest.mark.parametrize("capacity", [1, 2, 100])
def test_finds_other_capacities(capacity):
    moments = run(Engine(lambda at: capacity, noise=0.3), [limit()], 60)
    limits = [moment.limits[0] for moment in moments if moment.at > 40]
    assert min(limits) >= 0.7 * capacity
    assert max(limits) <= 2 * capacity + 2
    assert throughput(moments, 40) >= 0.9 * capacity / 0.05


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_find_the_capacity_together(workers):
    moments = run(EIGHT, [limit(workers) for _ in range(workers)], 60)
    together = [sum(moment.limits) for moment in moments if moment.at > SETTLED_S]
    assert max(together) <= 14
    assert throughput(moments, SETTLED_S) >= 0.9 * 8 / 0.05


def test_larger_calls_are_not_taken_for_congestion():
    engine = Engine(lambda at: 8, seconds=lambda items: 0.01 + 0.002 * items, noise=0.3)
    sizes = (1, 1, 1, 64)
    moments = run(engine, [limit()], 60, sizes=sizes)
    limits = [moment.limits[0] for moment in moments if moment.at > SETTLED_S]
    assert min(limits) >= 5
    assert max(limits) <= 13
    fixed = throughput(run(engine, [8], 60, sizes=sizes), SETTLED_S)
    assert throughput(moments, SETTLED_S) >= 0.85 * fixed


def test_engine_that_slows_down_gradually_is_used():
    """As a GPU that batches: each call in flight makes all of them a tenth slower."""
    engine = Engine(lambda at: 1000, slowdown=lambda in_flight: 1 + 0.1 * in_flight, noise=0.3)
    fixed = throughput(run(engine, [256], 60), SETTLED_S)
    assert throughput(run(engine, [limit()], 120), 60) >= 0.85 * fixed


def test_calls_of_seconds():
    engine = Engine(lambda at: 8, seconds=lambda items: 2.0, noise=0.3)
    moments = run(engine, [limit()], 1200)
    limits = [moment.limits[0] for moment in moments if moment.at > 400]
    assert min(limits) >= 5
    assert max(limits) <= 13


def test_unused_limit_stays():
    moments = run(EIGHT, [limit()], 30, clients=3)
    assert {moment.limits[0] for moment in moments} == {8}


def test_alternates_around_the_limit_by_the_clock():
    one, other = limit(), limit()
    seen = {(one.slots(at / 10), other.slots(at / 10)) for at in range(100)}
    assert seen == {(7, 7), (9, 9)}


def test_clocks_of_hosts_are_aligned_by_the_offset():
    here, there = AdaptiveLimit(1, 256), AdaptiveLimit(1, 256, clock_offset=1234.0)
    assert all(here.slots(at / 10 + 1234.0) == there.slots(at / 10) for at in range(50))


def test_refused_calls_cut_the_limit_once():
    one = limit()
    for _ in range(8):
        one.record_failure("d", (1, 10), 100.0, 101.0, is_timeout=False)
    assert one.limit == 6
    one.record_failure("d", (1, 10), 102.0, 103.0, is_timeout=False)
    assert one.limit == 4


def test_timeout_cuts_unless_the_deadline_was_short():
    one = limit()
    for number in range(10):
        one.record_success("d", (1, 10), 1, 1, False, 100.0 + number, 101.0 + number)
    one.record_failure("d", (1, 10), 200.0, 201.5, is_timeout=True)
    assert one.limit == 8
    one.record_failure("d", (1, 10), 200.0, 203.0, is_timeout=True)
    assert one.limit == 6


_events = st.tuples(
    st.booleans(), st.integers(1, 300), st.booleans(), st.floats(0, 50), st.floats(0, 5)
)


@given(st.integers(1, 9), st.integers(0, 20), st.lists(_events, max_size=60), st.floats(0, 1e9))
def test_stays_within_its_bounds(low, more, events, start):
    one, now = AdaptiveLimit(low, low + more), start
    for succeeds, in_flight, flag, took, pause in events:
        now += took + pause
        if succeeds:
            one.record_success("d", (in_flight, 10), 1, in_flight, flag, now - took, now)
        else:
            one.record_failure("d", (in_flight, 10), now - took, now, is_timeout=flag)
        assert low <= one.limit <= low + more
        assert low <= one.slots(now) <= low + more
