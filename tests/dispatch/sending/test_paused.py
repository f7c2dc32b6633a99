"""Queues are looked at again when the pause of a quota has ended."""

import pytest

from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending.paused import PausedQueues
from tests.dispatch.arrangements import START, codes, load, models, waited
from tests.dispatch.members import good
from tests.dispatch.parts import attempt, deployment
from tests.dispatch.simulator import simulated
from tests.dispatch.virtual import World


def paused_queue(send):
    """Return a queue whose deployment may send two of four calls at once, and `PausedQueues`."""
    queue, paused = SlotQueue(8), PausedQueues(send)
    queue.on_pause = paused.resume_at
    return queue, deployment(queue=queue, requests_per_minute=4), paused


def test_what_waits_is_sent_when_the_pause_has_ended():
    with World().installed() as world:
        sent = []
        queue, a, _ = paused_queue(lambda batch: sent.append((world.now, batch)))
        start = world.now
        now = [queue.submit(attempt(a, group=None, deadline=start + 100), start) for _ in range(4)]
        assert [batch is not None for batch in now] == [True, True, True, False]
        world.run()
        assert not world.wrong
        assert world.threads == 0
        ((when, _),) = sent
        assert 15 < when - start < 16


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_pause_that_has_no_thread_is_ended_by_a_later_one(error):
    def no_thread():
        raise error("can't start new thread")

    with World().installed() as world:
        sent = []
        queue, a, paused = paused_queue(sent.append)
        start = world.now
        for _ in range(3):
            queue.submit(attempt(a, group=None, deadline=start + 100), start)
        world.may_start = no_thread
        assert queue.submit(attempt(a, group=None, deadline=start + 100), start) is None
        world.run()
        world.may_start = lambda: True
        paused.resume_at(queue, start + 20)
        world.run()
        assert len(sent) == 1


@pytest.mark.parametrize("caching", [False, True])
def test_pause_that_had_no_thread_ends_without_further_requests(caching):
    """The seventh request waits 5 s for its quota; no thread can be had as it begins to wait."""
    limited = models("a", requests_per_minute=10)
    with simulated({"a": good(0.05)}, limited, caching=caching) as run:
        load(run, 7, 0.2)
        run.world.may_start = lambda: not START + 1.19 < run.world.now < START + 1.21
        run.to_the_end()
        assert codes(run.asked) == {"ok": 7}
        assert waited(run.asked[-1]) < 6
