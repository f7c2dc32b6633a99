"""The slot queue: calls within the slots, merged batches, order of the queue."""

import pytest

from app.dispatch.queue.attempts import AttemptState
from app.dispatch.queue.slot_queue import SlotQueue
from app.domain import Flow
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.queue.queues import finished, sent


@pytest.fixture
def queue():
    """A provider with one slot."""
    return SlotQueue(1)


def test_attempt_with_a_free_slot_is_sent_at_once():
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


def test_no_attempt_is_added_to_a_full_batch():
    queue = SlotQueue(2)
    a = deployment(queue=queue, max_inputs=3)
    full = queue.submit(attempt(a, items=2), T)
    assert queue.submit(attempt(a, items=2), T).item_count == 2
    assert full.item_count == 2


def test_no_attempt_is_added_beyond_the_quota():
    queue = SlotQueue(2)
    a = deployment(queue=queue, tokens_per_minute=100)
    open_batch = queue.submit(attempt(a, tokens=60), T)
    assert queue.submit(attempt(a, tokens=40), T) is None
    assert open_batch.tokens == 100
    one = attempt(a, tokens=1)
    returned = queue.submit(one, T)
    assert returned.is_unsent
    assert returned.attempts == [one]


def test_batch_is_within_the_limits_of_the_provider(queue):
    a = deployment(queue=queue, max_inputs=10, max_tokens=100)
    (batch,) = sent(queue, [attempt(a)])
    sizes = [(4, 10), (4, 10), (4, 10), (1, 95), (1, 10), (12, 5), (1, 1)]
    sent(queue, [attempt(a, items, tokens=tokens) for items, tokens in sizes])
    left = [[(one.size, one.tokens) for one in b.attempts] for b in finished(queue, batch)]
    assert left == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:5], sizes[5:6], sizes[6:]]


def test_group_that_has_waited_longest_is_sent_first(queue):
    a = deployment(queue=queue, max_inputs=2)
    (batch,) = sent(queue, [attempt(a)])
    sent(queue, [attempt(a, group=group) for group in "xxxxyz"])
    order = ["".join(one.group for one in b.attempts) for b in finished(queue, batch)]
    assert order == ["xx", "y", "z", "xx"]


def test_attempts_without_merging_are_sent_in_order(queue):
    a = deployment(queue=queue)
    (batch,) = sent(queue, [attempt(a)])
    waiting = [attempt(a, group=None) for _ in range(5)]
    sent(queue, waiting)
    assert [b.attempts for b in finished(queue, batch)] == [[one] for one in waiting]


def test_deployment_at_its_limit_does_not_delay_others():
    queue = SlotQueue(4)
    a, b = deployment("a", queue, concurrency=1), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    stuck, free = attempt(a), attempt(b)
    assert queue.submit(stuck, T) is None
    assert queue.submit(free, T).attempts == [free]
    assert queue.finish(first, T).attempts == [stuck]


def test_queue_is_full_at_the_limit_of_waiting_attempts():
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


def test_flush_removes_attempts_of_one_deployment(queue):
    a, b = deployment("a", queue), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    for_a, for_b = [attempt(a), attempt(a, group="h")], attempt(b)
    sent(queue, [*for_a, for_b])
    assert queue.flush(a) == for_a
    assert queue.waiting == 1
    assert queue.outstanding(a) == 1  # the one in flight
    assert queue.finish(first, T).attempts == [for_b]


def test_abandoned_attempt_is_outstanding_until_its_call_ends(queue):
    a = deployment(queue=queue)
    batch = queue.submit(attempt(a), T)
    first, second = batch.attempts[0], attempt(a)
    queue.submit(second, T)
    assert queue.abandon(second) is None
    assert queue.abandon(second) is None
    assert queue.abandon(first) is None  # open for additions: its sender has not run
    queue.close(batch)
    assert queue.outstanding(a) == 2  # until the call has ended
    assert not queue.finish_attempt(first, 2)
    assert not queue.finish_attempt(second, 2)
    assert queue.outstanding(a) == 0


def test_last_abandoned_attempt_names_the_call_to_cancel(queue):
    a = deployment(queue=queue)
    batch = queue.submit(attempt(a), T)
    queue.submit(attempt(a), T)
    queue.close(batch)
    first, second = batch.attempts
    assert queue.abandon(first) is None
    assert queue.abandon(second) is batch


def test_probe_is_not_cancelled_with_its_callers(queue):
    a = deployment(queue=queue)
    probe = attempt(a, is_probe=True, deadline=T + 1)
    (batch,) = sent(queue, [probe])
    batch.deadline.set_timeout_at(T + 10)
    assert queue.abandon(probe) is None
    assert batch.deadline.at == T + 10


def test_without_quota_all_attempts_of_the_deployment_are_returned(queue):
    a, b = deployment("a", queue, requests_per_minute=1), deployment("b", queue)
    (first,) = sent(queue, [attempt(a)])
    for_a, for_b = [attempt(a), attempt(a, group="h")], attempt(b)
    sent(queue, [*for_a, for_b])
    returned = queue.finish(first, T)
    assert returned.is_unsent
    assert returned.attempts == for_a
    assert {one.state for one in for_a} == {AttemptState.DONE}
    assert queue.outstanding(a) == 1
    assert queue.free == 1
    assert queue.take_next(T).attempts == [for_b]
    assert queue.take_next(T) is None


def test_merged_call_is_within_the_quota(queue):
    a = deployment(queue=queue, tokens_per_minute=100)
    (first,) = sent(queue, [attempt(a, tokens=10)])
    waiting = [attempt(a, tokens=40) for _ in range(4)]
    sent(queue, waiting)
    batch = queue.finish(first, T)
    assert batch.attempts == waiting[:2]
    assert not batch.is_unsent


def test_merged_call_does_not_exceed_a_quota_that_each_attempt_keeps(queue):
    a = deployment(queue=queue, tokens_per_minute=100)
    (first,) = sent(queue, [attempt(a, tokens=10)])
    sent(queue, [attempt(a, tokens=40) for _ in range(4)])
    batch = queue.finish(first, T + 600)
    assert batch.tokens <= 100


def test_next_returns_nothing_without_a_free_slot(queue):
    a = deployment(queue=queue)
    sent(queue, [attempt(a), attempt(a)])
    assert queue.take_next(T) is None
    assert (queue.free, queue.waiting) == (0, 1)


@pytest.mark.parametrize("tier", ["default", "flex"])
def test_many_attempts_that_wait_for_a_quota_are_not_asked_for_one_by_one(tier):
    queue = SlotQueue(4)
    a = deployment(queue=queue, requests_per_minute=60)
    looks = []
    queue.on_pause = lambda *_: looks.append(1)
    flow = Flow("k", tier=tier)
    for number in range(500):
        one = attempt(a, group=None, tokens=100 + number % 20, deadline=T + 600 + number, flow=flow)
        sent(queue, [one])
    assert queue.waiting > 400
    assert len(looks) < 20 * 500
