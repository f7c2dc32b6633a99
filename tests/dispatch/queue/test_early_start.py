"""A burst of requests leaves in several calls, so that worker and provider work at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.queue import batch
from app.dispatch.queue.batch import (
    MAX_READING_SHARE,
    MIN_ATTEMPTS,
    has_enough,
    is_read_fast,
)
from app.dispatch.queue.slot_queue import SlotQueue
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.queue.event_loop import EventLoop

SECONDS = 0.05  # a call takes
SOON, LATE = T + 0.2 * SECONDS, T + 0.3 * SECONDS


def timed(queue):
    """Return a deployment whose calls have taken `SECONDS`."""
    made = deployment("a", queue)
    for _ in range(20):
        made.durations.add(1, 1, SECONDS)
        made.durations.add(64, 64, SECONDS)
    return made


@given(st.integers(1, 100), st.integers(0, 300), st.integers(-5, 64))
def test_has_enough_with_a_free_slot_and_a_share_of_all(own, other, free):
    enough = has_enough(own, own + other, free)
    assert enough == (free > 0 and own >= MIN_ATTEMPTS and 3 * own >= other)
    if enough:  # with more attempts, or more slots, too
        assert has_enough(own + 1, own + 1 + other, free)
        assert has_enough(own, own + other, free + 1)


@given(st.floats(0, 10), st.floats(0, 10))
def test_is_read_fast_in_a_share_of_the_time_of_a_call(open_s, call_s):
    assert is_read_fast(open_s, call_s) == (open_s <= MAX_READING_SHARE * call_s)
    assert not is_read_fast(open_s, None)


def test_the_next_attempt_opens_another_batch():
    queue = SlotQueue(4)
    to = timed(queue)
    first = queue.submit(attempt(to), T)
    joining = [queue.submit(attempt(to), SOON) for _ in range(MIN_ATTEMPTS - 1)]
    assert joining == [None] * (MIN_ATTEMPTS - 2) + [first]
    assert first.starts_early
    assert len(first.attempts) == MIN_ATTEMPTS
    following = queue.submit(attempt(to), SOON)
    assert following is not first
    assert not following.starts_early
    assert (queue.free, queue.outstanding(to)) == (2, MIN_ATTEMPTS + 1)


def test_one_thread_makes_the_call():
    queue = SlotQueue(4)
    batch = queue.submit(attempt(deployment("a", queue)), T)
    assert [queue.claim(batch) for _ in range(3)] == [True, False, False]


def test_a_batch_of_a_share_of_all_starts():
    queue = SlotQueue(4)
    to = timed(queue)
    whole = [queue.submit(attempt(to), SOON) for _ in range(5 * MIN_ATTEMPTS)]
    sizes = [len(batch.attempts) for batch in dict.fromkeys(filter(None, whole))]
    # A quarter of those that are queued or in flight by then, of 8 at least; then the last slot.
    assert sizes == [MIN_ATTEMPTS, MIN_ATTEMPTS, MIN_ATTEMPTS, 2 * MIN_ATTEMPTS]
    assert queue.free == 0


@pytest.mark.parametrize(
    ("slots", "knows", "at"), [(1, True, SOON), (4, False, SOON), (4, True, LATE)]
)
def test_a_batch_stays_open(slots, knows, at):
    """In the last slot; where the time of calls is not known; where it was long in reading."""
    queue = SlotQueue(slots)
    to = timed(queue) if knows else deployment("a", queue)
    first = queue.submit(attempt(to), T)
    assert [queue.submit(attempt(to), at) for _ in range(40)] == [None] * 40
    assert len(first.attempts) == 41


@pytest.mark.parametrize("stalls", [0.0, 10.0, 20.0])
def test_merging_does_not_slow_a_worker_that_keeps_up(stalls):
    merged = EventLoop(64, 0.05, stalls=stalls).run()
    alone = EventLoop(64, 0.05, stalls=stalls, merges=False).run()
    assert merged.rate >= 0.98 * alone.rate
    assert merged.p50_ms <= 1.04 * alone.p50_ms
    assert merged.cpu_ms < alone.cpu_ms


@pytest.mark.parametrize(("clients", "gain"), [(64, 1.05), (128, 1.05), (256, 1.01)])
def test_worker_and_provider_do_not_wait_for_each_other(clients, gain, monkeypatch):
    found = EventLoop(clients, 0.05, stalls=10.0).run(3.0)
    monkeypatch.setattr(batch, "has_enough", lambda *_: False)
    whole = EventLoop(clients, 0.05, stalls=10.0).run(3.0)
    assert found.rate >= gain * whole.rate
    assert found.p50_ms < whole.p50_ms


@pytest.mark.parametrize("slots", [2, 64])
def test_a_fast_provider_gets_calls_as_large(slots, monkeypatch):
    """Its worker is busy all the time: more calls would take it longer, and save nothing."""
    found = EventLoop(32, 0.0003, slots).run()
    monkeypatch.setattr(batch, "has_enough", lambda *_: False)
    whole = EventLoop(32, 0.0003, slots).run()
    assert found.cpu_ms <= 1.02 * whole.cpu_ms
    assert found.rate >= 0.98 * whole.rate
