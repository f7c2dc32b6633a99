"""The slot queue: no more calls than slots, what waits leaves together and in turn."""

import pytest

from app.dispatch.attempt import AttemptState
from app.dispatch.batching import SlotQueue
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.queues import finished, sent


@pytest.fixture
def queue():
    """A provider with one slot."""
    return SlotQueue(1)


def test_an_attempt_that_finds_a_free_slot_leaves_at_once():
    queue = SlotQueue(4)
    a = deployment(queue=queue)
    attempts = [attempt(a) for _ in range(4)]
    assert [batch.attempts for batch in sent(queue, attempts)] == [[one] for one in attempts]
    assert (queue.waiting, queue.free) == (0, 0)
    assert queue.outstanding(a) == queue.outstanding_calls * queue.slots == 4


def test_queued_attempts_share_one_call(queue):
    a = deployment(queue=queue)
    (first,) = sent(queue, [attempt(a)])
    waiting = [attempt(a) for _ in range(60)]
    assert not sent(queue, waiting)
    assert queue.waiting == 60
    assert queue.finish(first, T).attempts == waiting
    assert queue.waiting == 0


def test_a_batch_is_open_for_additions_until_it_is_closed():
    queue = SlotQueue(2)
    a = deployment(queue=queue, max_inputs=3)
    batch = queue.submit(attempt(a), T)
    second, other = attempt(a, deadline=T + 500), attempt(a, group="other")
    assert queue.submit(second, T) is None
    assert second.batch is batch
    batch.deadline.set_timeout_at(T + 1000)
    assert batch.deadline.at == T + 500
    assert queue.submit(other, T).attempts == [other]
    queue.close(batch)
    assert queue.submit(attempt(a), T) is None
    assert len(batch.attempts) == 2
    assert queue.waiting == 1


def test_no_attempt_is_added_to_a_call_that_is_full():
    queue = SlotQueue(2)
    a = deployment(queue=queue, max_inputs=3)
    full = queue.submit(attempt(a, items=2), T)
    assert queue.submit(attempt(a, items=2), T).inputs == 2
    assert full.inputs == 2


def test_no_attempt_is_added_beyond_the_quota():
    queue = SlotQueue(2)
    a = deployment(queue=queue, tokens_per_minute=100)
    open_batch = queue.submit(attempt(a, tokens=60), T)
    assert queue.submit(attempt(a, tokens=40), T) is None
    assert open_batch.tokens == 100
    one = attempt(a, tokens=1)
    returned = queue.submit(one, T)
    assert returned.reservation is None
    assert returned.attempts == [one]


def test_a_call_holds_no_more_than_the_provider_takes(queue):
    a = deployment(queue=queue, max_inputs=10, max_tokens=100)
    (batch,) = sent(queue, [attempt(a)])
    sizes = [(4, 10), (4, 10), (4, 10), (1, 95), (1, 10), (12, 5), (1, 1)]
    sent(queue, [attempt(a, items, tokens=tokens) for items, tokens in sizes])
    left = [[(one.size, one.tokens) for one in b.attempts] for b in finished(queue, batch)]
    assert left == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:5], sizes[5:6], sizes[6:]]


def test_groups_take_turns_by_which_has_waited_longest(queue):
    a = deployment(queue=queue, max_inputs=2)
    (batch,) = sent(queue, [attempt(a)])
    sent(queue, [attempt(a, group=group) for group in "xxxxyz"])
    order = ["".join(one.group for one in b.attempts) for b in finished(queue, batch)]
    assert order == ["xx", "y", "z", "xx"]


def test_attempts_that_are_not_merged_leave_in_order(queue):
    a = deployment(queue=queue)
    (batch,) = sent(queue, [attempt(a)])
    waiting = [attempt(a, group=None) for _ in range(5)]
    sent(queue, waiting)
    assert [b.attempts for b in finished(queue, batch)] == [[one] for one in waiting]


def test_a_deployment_at_its_own_limit_holds_up_no_other():
    queue = SlotQueue(4)
    a, b = deployment("a", queue, concurrency=1), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    stuck, free = attempt(a), attempt(b)
    assert queue.submit(stuck, T) is None
    assert queue.submit(free, T).attempts == [free]
    assert queue.finish(first, T).attempts == [stuck]


def test_a_queue_is_full_when_as_many_wait_as_may():
    queue = SlotQueue(1, max_waiting=2)
    a = deployment(queue=queue)
    sent(queue, [attempt(a), attempt(a)])
    assert not queue.is_full
    sent(queue, [attempt(a)])
    assert queue.is_full


def test_withdrawn_attempt_is_not_sent(queue):
    a = deployment(queue=queue)
    (first,) = sent(queue, [attempt(a)])
    gone, stays = attempt(a), attempt(a)
    sent(queue, [gone, stays])
    assert queue.withdraw(gone)
    assert not queue.withdraw(gone)
    assert queue.finish(first, T).attempts == [stays]
    assert not queue.withdraw(stays)  # too late
    assert not queue.withdraw(attempt(a))  # never submitted


def test_a_flush_takes_out_what_waits_for_one_deployment(queue):
    a, b = deployment("a", queue), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    for_a, for_b = [attempt(a), attempt(a, group="h")], attempt(b)
    sent(queue, [*for_a, for_b])
    assert queue.flush(a) == for_a
    assert queue.waiting == 1
    assert queue.outstanding(a) == 1  # the one in flight
    assert queue.finish(first, T).attempts == [for_b]


def test_an_abandoned_attempt_is_outstanding_until_its_call_has_ended(queue):
    a = deployment(queue=queue)
    batch = queue.submit(attempt(a), T)
    first, second = batch.attempts[0], attempt(a)
    queue.submit(second, T)
    assert queue.abandon(second) is None
    assert queue.abandon(second) is None
    assert queue.abandon(first) is None  # open for additions: its sender has not run
    queue.close(batch)
    assert queue.outstanding(a) == 2  # until the call has ended
    assert not queue.done(first, 2)
    assert not queue.done(second, 2)
    assert queue.outstanding(a) == 0


def test_the_last_attempt_that_is_abandoned_names_the_call_to_cut(queue):
    a = deployment(queue=queue)
    batch = queue.submit(attempt(a), T)
    queue.submit(attempt(a), T)
    queue.close(batch)
    first, second = batch.attempts
    assert queue.abandon(first) is None
    assert queue.abandon(second) is batch


def test_a_probe_is_never_cut_for_its_callers(queue):
    a = deployment(queue=queue)
    probe = attempt(a, is_probe=True, deadline=T + 1)
    (batch,) = sent(queue, [probe])
    batch.deadline.set_timeout_at(T + 10)
    assert queue.abandon(probe) is None
    assert batch.deadline.at == T + 10


def test_without_quota_all_that_wait_for_the_deployment_are_returned(queue):
    a, b = deployment("a", queue, requests_per_minute=1), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    for_a, for_b = [attempt(a), attempt(a, group="h")], attempt(b)
    sent(queue, [*for_a, for_b])
    returned = queue.finish(first, T)
    assert returned.reservation is None
    assert returned.attempts == for_a
    assert {one.state for one in for_a} == {AttemptState.DONE}
    assert queue.outstanding(a) == 1
    assert queue.free == 1
    assert queue.next(T).attempts == [for_b]
    assert queue.next(T) is None


def test_a_merged_call_is_no_larger_than_its_quota_has_room_for(queue):
    a = deployment(queue=queue, tokens_per_minute=100)
    (first,) = sent(queue, [attempt(a, tokens=10)])
    waiting = [attempt(a, tokens=40) for _ in range(4)]
    sent(queue, waiting)
    batch = queue.finish(first, T)
    assert batch.attempts == waiting[:2]
    assert batch.reservation is not None


def test_what_was_merged_passes_no_quota_that_each_attempt_keeps(queue):
    a = deployment(queue=queue, tokens_per_minute=100)
    (first,) = sent(queue, [attempt(a, tokens=10)])
    sent(queue, [attempt(a, tokens=40) for _ in range(4)])
    batch = queue.finish(first, T + 600)
    assert batch.tokens <= 100


def test_next_takes_no_slot_where_none_is_free(queue):
    a = deployment(queue=queue)
    sent(queue, [attempt(a), attempt(a)])
    assert queue.next(T) is None
    assert (queue.free, queue.waiting) == (0, 1)
