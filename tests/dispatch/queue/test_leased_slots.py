"""A worker's lease of slots, without a store: tests/limits/leases/test_slot_leases.py has one."""

import pytest

from app.dispatch.queue.leased_slots import (
    EXCHANGE_S,
    JOIN_S,
    LEASE_S,
    POLL_S,
    LeasedSlotQueue,
    SlotLease,
)
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.queue.queues import sent

MAX_CALL_S = 10


@pytest.fixture
def queue():
    """The queue of a provider with 8 slots, of a host with two workers."""
    return LeasedSlotQueue(8, 2, MAX_CALL_S)


def calls(queue, number, now=T):
    """Return the batches of those calls that start."""
    to = deployment(queue=queue)
    batches = [queue.submit(attempt(to, group=None), now) for _ in range(number)]
    return [batch for batch in batches if batch is not None and queue.close(batch)]


def exchange(queue, now, slots=None, entitled=None, others_lack_slots=False):
    """Make an exchange, answered at once with so many slots; None: not answered."""
    asked = queue.start_exchange(now)
    lease = None
    if slots is not None:
        lease = SlotLease(slots, slots if entitled is None else entitled, others_lack_slots, 2, 0)
    queue.end_exchange(asked, lease, now)
    return asked


def test_without_a_store_a_worker_has_its_share(queue):
    assert len(calls(queue, 9)) == 4
    assert not queue.is_leased


def test_worker_that_starts_waits_a_moment_for_the_store(queue):
    queue.join(T)
    assert calls(queue, 5) == []
    assert queue.take_next(T + JOIN_S) is not None
    assert queue.slots == 4


def test_worker_that_starts_waits_as_long_as_its_store_may_take():
    queue = LeasedSlotQueue(8, 2, MAX_CALL_S, join_s=5)
    queue.join(T)
    assert calls(queue, 5) == []
    assert queue.take_next(T + 4.9) is None
    assert queue.take_next(T + 5) is not None


def test_calls_start_in_the_slots_of_the_lease(queue):
    exchange(queue, T, 6)
    assert len(calls(queue, 9)) == 6
    assert (queue.slots, queue.free, queue.waiting) == (6, 0, 3)


def test_lease_expires_counted_from_the_question(queue):
    asked = queue.start_exchange(T)
    queue.end_exchange(asked, SlotLease(6, 6, False, 2, 0), T + LEASE_S - 1)
    assert len(calls(queue, 5, T + LEASE_S - 0.1)) == 5
    assert calls(queue, 1, T + LEASE_S) == []  # five calls are more than the share
    assert not queue.is_leased


def test_answer_to_an_earlier_question_is_ignored(queue):
    first = queue.start_exchange(T)
    second = queue.start_exchange(T + 1)
    assert not queue.end_exchange(first, SlotLease(8, 8, False, 2, 0), T + 2)
    assert queue.end_exchange(second, SlotLease(2, 2, False, 2, 0), T + 2)
    assert queue.slots == 2


def test_call_in_flight_keeps_its_slot(queue):
    exchange(queue, T, 6)
    batches = calls(queue, 6)
    exchange(queue, T + 0.1, 6, entitled=2)
    assert (queue.slots, queue.free) == (2, -4)
    assert queue.start_exchange(T + 0.2).kept == 6
    for batch in batches[:5]:
        queue.finish_attempt(batch.attempts[0], 1)
        assert queue.finish(batch, T + 0.3) is None
    assert queue.start_exchange(T + 0.4).kept == 2


def test_slots_that_others_lack_are_returned_as_calls_end(queue):
    needs = []
    queue.on_need = lambda: needs.append(1)
    exchange(queue, T, 6)
    batches = calls(queue, 6)
    exchange(queue, T + 0.1, 6, entitled=2, others_lack_slots=True)
    assert not needs
    queue.finish(batches[0], T + 0.2)
    assert needs


def test_call_without_a_slot_asks_at_once_and_then_not_often(queue):
    needs, looks = [], []
    queue.on_need = lambda: needs.append(1)
    queue.on_pause = lambda _, at: looks.append(at)
    exchange(queue, T, 0)
    assert calls(queue, 1) == []
    assert len(needs) == 1
    asked = exchange(queue, T, 0)
    assert (asked.lacks_slot, asked.needed) == (True, 1)
    assert queue.take_next(T + POLL_S / 2) is None
    assert len(needs) == 1
    assert looks[-1] == pytest.approx(T + POLL_S)
    assert queue.take_next(looks[-1]) is None
    assert len(needs) == 2


def test_share_is_used_in_full_when_calls_of_others_must_have_ended(queue):
    exchange(queue, T, 1)
    exchange(queue, T + 1, None)
    assert len(calls(queue, 5, T + 1)) == 1
    assert queue.take_next(T + LEASE_S + MAX_CALL_S) is None
    assert queue.take_next(T + 1 + queue.hold_s) is not None
    assert queue.slots == 4


def test_worker_without_a_slot_has_one_as_soon_as_the_store_is_away(queue):
    exchange(queue, T, 0)
    assert calls(queue, 1, T) == []
    exchange(queue, T + 0.1, None)
    assert queue.slots == 1
    assert queue.take_next(T + 0.1) is not None


def test_worker_keeps_of_its_lease_no_more_than_its_share(queue):
    exchange(queue, T, 8)
    assert len(calls(queue, 8)) == 8
    exchange(queue, T + 1, None)
    assert (queue.slots, queue.free) == (4, -4)
    assert exchange(queue, T + 2, 8, entitled=4).kept == 8


def test_test_of_a_bisection_needs_a_slot_that_the_share_has(queue):
    exchange(queue, T, 8)
    to = deployment(queue=queue)
    batches = sent(queue, [attempt(to, group=None) for _ in range(8)])
    exchange(queue, T + 1, None)
    batch = batches[0]
    assert queue.replace(batch, batch.attempts, [], T + 1).is_unsent
    exchange(queue, T + 2, 8)
    batch = batches[1]
    assert not queue.replace(batch, batch.attempts, [], T + 2).is_unsent


def test_recent_call_counts_as_need_of_a_slot(queue):
    exchange(queue, T, 4)
    (batch,) = calls(queue, 1)
    queue.finish_attempt(batch.attempts[0], 1)
    queue.finish(batch, T)
    exchange(queue, T + EXCHANGE_S, 4)
    asked = exchange(queue, T + 2 * EXCHANGE_S, 4)
    assert (asked.needed, asked.is_busy) == (1, False)
    assert exchange(queue, T + 20, 4).needed == 0


def test_worker_that_leaves_keeps_nothing(queue):
    exchange(queue, T, 4)
    assert queue.start_exchange(T + 1, is_leaving=True).kept == 0
