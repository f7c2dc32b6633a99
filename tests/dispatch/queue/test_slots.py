"""A change to the number of slots of a provider."""

from app.dispatch.queue.slot_queue import SlotQueue
from tests.dispatch.parts import T, attempt, deployment, pool
from tests.dispatch.queue.queues import sent


def unmerged(a, number):
    return [attempt(a, group=None) for _ in range(number)]


def test_more_slots_send_what_waits():
    queue = SlotQueue(1)
    a = deployment(queue=queue)
    sent(queue, unmerged(a, 4))
    batches = [queue.set_slots(3, T)]
    while (batch := queue.take_next(T)) is not None:
        batches.append(batch)
    assert len(batches) == 2
    assert (queue.slots, queue.free, queue.waiting) == (3, 0, 1)


def test_fewer_slots_let_calls_in_flight_end():
    queue = SlotQueue(3)
    a = deployment(queue=queue)
    first, second, third = sent(queue, unmerged(a, 3))
    sent(queue, unmerged(a, 2))
    assert queue.set_slots(1, T) is None
    assert queue.free == -2
    assert queue.finish(first, T) is None
    assert queue.submit_if_idle(attempt(a), T) is None
    assert queue.finish(second, T) is None
    assert queue.finish(third, T) is not None
    assert (queue.free, queue.waiting) == (0, 1)


def test_without_slots_attempts_wait():
    queue = SlotQueue(2)
    a = deployment(queue=queue)
    assert queue.set_slots(0, T) is None
    assert sent(queue, unmerged(a, 1)) == []
    assert queue.outstanding_calls == 1
    assert queue.set_slots(1, T) is not None


def test_parts_of_a_request_run_at_once_in_the_slots_of_now():
    queue, other = SlotQueue(2), SlotQueue(1)
    alone, both = (
        pool(deployment(queue=queue)),
        pool(deployment(queue=queue), deployment("b", other)),
    )
    queue.set_slots(5, T)
    assert (alone.max_slots, both.max_slots) == (5, 5)
    queue.set_slots(0, T)
    other.set_slots(0, T)
    assert (alone.max_slots, both.max_slots) == (1, 1)  # it has to wait in the queue for one
