"""The slot queue after a refused batch: held attempts, requeued attempts, and the same slot."""

import pytest

from app.dispatch.queue.attempts import AttemptState
from app.dispatch.queue.slot_queue import SlotQueue
from tests.dispatch.parts import T, attempt, deployment
from tests.dispatch.queue.queues import finished, sent


@pytest.fixture
def queue():
    """A provider with one slot."""
    return SlotQueue(1)


@pytest.fixture
def refused(queue):
    """A batch of four attempts whose call has been refused."""
    a = deployment(queue=queue)
    (first,) = sent(queue, [attempt(a)])
    sent(queue, [attempt(a) for _ in range(4)])
    batch = queue.finish(first, T)
    queue.close(batch)
    return batch


def test_requeued_attempts_are_first_and_merged_again(queue, refused):
    a = refused.deployment
    others = [attempt(a, group="h"), attempt(a)]
    sent(queue, others)
    queue.requeue(refused.attempts)
    assert queue.waiting == 6
    assert [b.attempts for b in finished(queue, refused)] == [
        [*refused.attempts, others[1]],
        [others[0]],
    ]


def test_held_attempts_are_not_queued(queue, refused):
    held = queue.hold(refused.attempts[2:])
    assert held == refused.attempts[2:]
    assert {one.state for one in held} == {AttemptState.QUEUED}
    assert queue.waiting == 2
    assert queue.finish(refused, T) is None
    queue.requeue(held)
    assert queue.take_next(T).attempts == held
    assert queue.waiting == 0


def test_held_attempt_can_be_withdrawn_and_is_not_requeued(queue, refused):
    held = queue.hold(refused.attempts)
    assert queue.withdraw(held[0])
    queue.requeue(held)
    assert queue.waiting == 3
    assert queue.finish(refused, T).attempts == held[1:]


def test_bisection_call_uses_the_slot_of_the_refused_call(queue, refused):
    rest = queue.hold(refused.attempts[3:])
    following = queue.replace(refused, refused.attempts[:3], rest, T)
    assert following.attempts == refused.attempts[:3]
    assert following.refused_with == rest
    assert all(one.batch is following for one in following.attempts)
    assert queue.free == 0
    late = attempt(refused.deployment)
    assert queue.submit(late, T) is None  # a test is not open for additions
    assert late.batch is None


def test_abandoned_bisection_call_is_not_sent(queue, refused):
    for one in refused.attempts[:2]:
        queue.abandon(one)
    rest = queue.hold(refused.attempts[2:])
    assert queue.replace(refused, refused.attempts[:2], rest, T) is None
    assert queue.outstanding(refused.deployment) == 1 + len(rest)  # and the first of all


def test_bisection_without_quota_returns_all_refused_attempts(queue):
    a = deployment(queue=queue, requests_per_minute=2)
    (first,) = sent(queue, [attempt(a)])
    attempts = [attempt(a) for _ in range(3)]
    sent(queue, attempts)
    batch = queue.finish(first, T)
    queue.close(batch)
    rest = queue.hold(batch.attempts[2:])
    returned = queue.replace(batch, batch.attempts[:2], rest, T)
    assert returned.is_unsent
    assert returned.attempts == attempts
    assert queue.finish(batch, T) is None
    assert (queue.free, queue.waiting) == (1, 0)
