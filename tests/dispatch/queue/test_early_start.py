"""A burst of requests leaves in several calls, so that worker and provider work at once."""

import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.health.unslowed_calls import BASELINE_CALLS, UnslowedCalls
from app.dispatch.queue.batch import MIN_ATTEMPTS, Batch, enough_attempts, is_read_fast
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


COUNTS, CALLS = st.integers(1, 300), st.floats(BASELINE_CALLS, 100)


@given(COUNTS, CALLS)
def test_enough_attempts_are_the_share_of_one_call(outstanding, unslowed):
    enough = enough_attempts(outstanding, unslowed)
    assert enough >= outstanding / unslowed
    assert enough in (2, MIN_ATTEMPTS, outstanding / unslowed)
    assert enough <= enough_attempts(outstanding + 1, unslowed)
    assert enough >= enough_attempts(outstanding, unslowed + 1)
    assert enough_attempts(outstanding, BASELINE_CALLS) >= MIN_ATTEMPTS


@given(st.integers(0, 10**6), st.integers(2, 100), COUNTS, st.integers(1, 10**6))
def test_reading_is_fast_if_all_would_be_read_in_half_of_a_call(reading, own, outstanding, call):
    """The times are in microseconds."""
    is_fast = is_read_fast(reading, own, outstanding, call)
    assert is_fast == (Fraction(reading, own - 1) * outstanding <= Fraction(call, 2))


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
    # A quarter of the outstanding attempts, and at least 8; then the last slot.
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


def test_a_batch_stays_open_in_the_last_slot_of_its_deployment():
    queue = SlotQueue(64)
    to = deployment("a", queue, concurrency=1)
    for size in (1, 64) * 20:
        to.durations.add(size, size, SECONDS)
    first = queue.submit(attempt(to), T)
    assert [queue.submit(attempt(to), SOON) for _ in range(40)] == [None] * 40
    assert len(first.attempts) == 41


def test_batches_know_how_many_calls_of_their_deployment_are_in_flight():
    queue = SlotQueue(64)
    to, other = deployment("a", queue), deployment("b", queue)
    batches = [queue.submit(attempt(one, group=None), T) for one in (to, other, to, to)]
    assert [batch.calls_at_once for batch in batches] == [1, 1, 2, 3]
    queue.finish(batches[0], T)
    following = queue.replace(batches[2], batches[2].attempts, [], T)
    assert following.calls_at_once == 2


def sixth_attempt(limits=None, slots=64, known=20):
    """Let a second attempt join a batch; return the batch if its call starts early.

    Six attempts are outstanding then: two in the batch, and four in calls of their own. So many
    calls of ``known`` have shown that four at once are not slowed.
    """
    queue = SlotQueue(slots)
    to = deployment("a", queue, **(limits or {}))
    for size in (1, 64) * 20:
        to.durations.add(size, size, SECONDS)
    for _ in range(known):
        to.unslowed_calls.learn(BASELINE_CALLS, 1, 1, SECONDS, T)
    for _ in range(4):
        queue.submit(attempt(to, group=None), T)
    queue.submit(attempt(to), T)
    return queue.submit(attempt(to), T + 0.05 * SECONDS)


def test_two_attempts_are_enough_where_more_calls_at_once_are_not_slowed():
    assert len(sixth_attempt().attempts) == 2


@pytest.mark.parametrize(
    "but",
    [
        {"known": 0},
        {"slots": 5},
        {"limits": {"concurrency": 5}},
        {"limits": {"requests_per_minute": 1000}},
    ],
)
def test_two_attempts_are_not_enough(but):
    """No more calls are known not to be slowed; no slot for each attempt; or a quota."""
    assert sixth_attempt(**but) is None


def runs(clients, number=12, **but):
    """Run workers that stall at different times; return the means of rate, p50 and cpu."""
    loops = [EventLoop(clients, SECONDS, seed=seed, **but) for seed in range(number)]
    found = [loop.run(3.0) for loop in loops]
    values = [(figures.rate, figures.p50_ms, figures.cpu_ms) for figures in found]
    return tuple(map(statistics.mean, zip(*values, strict=True)))


@pytest.mark.parametrize("stalls", [0.0, 5.0, 10.0])
@pytest.mark.parametrize("clients", [48, 60, 64])
def test_merging_does_not_slow_a_worker_that_keeps_up(clients, stalls):
    rate, p50_ms, cpu_ms = runs(clients, stalls=stalls)
    alone = runs(clients, stalls=stalls, merges=False)
    assert rate >= 0.98 * alone[0]
    assert p50_ms <= 1.01 * alone[1]
    assert cpu_ms < alone[2]


@pytest.mark.parametrize(("clients", "seconds"), [(32, 0.005), (64, 0.005), (64, 0.01)])
def test_a_busy_worker_spends_no_more_on_calls(clients, seconds, monkeypatch):
    found = EventLoop(clients, seconds, stalls=10.0).run(4.0)
    monkeypatch.setattr(UnslowedCalls, "learn", lambda *_: None)
    never_more = EventLoop(clients, seconds, stalls=10.0).run(4.0)
    assert found.cpu_ms <= 1.04 * never_more.cpu_ms
    assert found.rate >= 0.97 * never_more.rate


@pytest.mark.parametrize(("clients", "gain"), [(64, 1.05), (128, 1.05), (256, 1.01)])
def test_worker_and_provider_do_not_wait_for_each_other(clients, gain, monkeypatch):
    found = EventLoop(clients, 0.05, stalls=10.0).run(3.0)
    monkeypatch.setattr(Batch, "may_start_early", lambda *_: False)
    whole = EventLoop(clients, 0.05, stalls=10.0).run(3.0)
    assert found.rate >= gain * whole.rate
    assert found.p50_ms < whole.p50_ms


@pytest.mark.parametrize("slots", [2, 64])
def test_a_fast_provider_gets_calls_as_large(slots, monkeypatch):
    """Its worker is busy all the time: more calls would take it longer, and save nothing."""
    found = EventLoop(32, 0.0003, slots).run()
    monkeypatch.setattr(Batch, "may_start_early", lambda *_: False)
    whole = EventLoop(32, 0.0003, slots).run()
    assert found.cpu_ms <= 1.02 * whole.cpu_ms
    assert found.rate >= 0.98 * whole.rate
