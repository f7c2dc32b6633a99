"""The ring has exactly what was counted in the last hour, and windows of workers add up."""

import numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from app.observability.live.ring import BUCKET_S, BUCKETS, MAX_COLUMNS, Ring, merge
from tests.observability.live.conftest import T

STEPS = st.lists(st.tuples(st.floats(0, 2000), st.sampled_from("abc"), st.integers(1, 9)))


def counted(steps):
    """Count at increasing times; return the ring, what was counted, and the time of the last."""
    ring, now, events = Ring(T), T, []
    for wait, name, amount in steps:
        now += wait
        ring.turn(now)
        ring.open[ring.column(name)] += amount
        events.append((now, name, amount))
    return ring, events, now


def sums(events, first, stop):
    """Return name → sums by bucket, of the buckets with these numbers."""
    found = {}
    for at, name, amount in events:
        number = int(at // BUCKET_S)
        if first <= number < stop:
            found.setdefault((name,), [0] * (stop - first))[number - first] += amount
    return found


def as_lists(window):
    return {labels: values.tolist() for labels, values in window.columns.items()}


@settings(deadline=None, max_examples=40)
@given(STEPS, st.floats(-100, 4000), st.floats(0, 8000))
def test_window_has_each_count_in_its_bucket(steps, age, idle):
    ring, events, now = counted(steps)
    now += idle
    window = ring.read(now - age, now)
    stop = int(now // BUCKET_S) + 1
    assert window.first + window.size == stop
    assert 1 <= window.size <= BUCKETS
    assert as_lists(window) == sums(events, window.first, stop)


@settings(deadline=None, max_examples=40)
@given(STEPS, st.floats(0, 8000))
def test_totals_are_those_of_the_last_hour(steps, idle):
    ring, events, now = counted(steps)
    now += idle
    stop = int(now // BUCKET_S) + 1
    expected = {name: sum(values) for name, values in sums(events, stop - BUCKETS, stop).items()}
    assert ring.totals(now) == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(STEPS, max_size=3))
def test_merged_windows_are_those_of_one_ring(workers):
    rings = [counted(steps) for steps in workers]
    now = max((last for _, _, last in rings), default=T)
    stop = int(now // BUCKET_S) + 1
    merged = merge((ring.read(0, now) for ring, _, _ in rings), stop - BUCKETS, stop)
    events = [event for _, events, _ in rings for event in events]
    assert as_lists(merged) == sums(events, stop - BUCKETS, stop)


def test_clock_that_is_set_back_loses_nothing():
    ring = Ring(T)
    ring.open[ring.column("a")] += 1
    ring.turn(T + BUCKET_S)
    ring.turn(T - 3600)
    ring.open[ring.column("a")] += 1
    assert as_lists(ring.read(0, T - 3600))["a",][-2:] == [1, 1]


def test_names_beyond_the_limit_take_no_memory_and_are_not_shown():
    ring = Ring(T)
    for number in range(2 * MAX_COLUMNS):
        ring.open[ring.column(str(number))] += 1
    assert len(ring.read(0, T).columns) == MAX_COLUMNS - 1
    assert ring._rows.nbytes <= 2 * 10**6


def test_slice_fills_missing_buckets_with_zeros():
    ring = Ring(T)
    ring.open[ring.column("a")] += 2
    window = ring.read(T, T)
    assert as_lists(window.slice(window.first - 2, window.first + 2)) == {("a",): [0, 0, 2, 0]}
    assert window.slice(window.first + 1, window.first + 3).columns == {}
    assert numpy.array_equal(window.slice(window.first, window.first + 1).columns["a",], [2])
