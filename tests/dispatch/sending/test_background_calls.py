"""Calls outside requests, which take an idle slot and change no state of a deployment."""

import time

import pytest

from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending.background_calls import BackgroundCalls, NoIdleSlot
from app.domain import Vectors
from app.errors import (
    ConnectionFailed,
    Rejected,
    Throttled,
)
from tests.dispatch.parts import T, attempt, deployment, vectors
from tests.dispatch.pools import drift
from tests.dispatch.sending.test_sender import Sending


class Background(Sending):
    """Background calls that are made at once, and whose sleep counts."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.slept = 0
        self.sender._start_thread = lambda run, arguments: run(*arguments)
        self.apart = BackgroundCalls(self.sender._pool_of, self.sender, self.sleep)

    def sleep(self, seconds):
        self.slept += 1


def test_background_call_returns_vectors_also_of_a_drifted_deployment():
    background = Background()
    drift(background.a)
    found = background.apart.embed(background.a, ["1", "2"], 0.0)
    assert found == vectors([1, 2])
    assert background.queue.free == background.queue.slots
    assert not background.queue.outstanding(background.a)


def test_background_call_raises_the_error_of_its_call():
    background = Background()
    background.error = ConnectionFailed("could not be reached")
    with pytest.raises(ConnectionFailed):
        background.apart.embed(background.a, ["1"], 0.0)


def test_background_call_is_no_sign_of_silence_and_no_latency():
    background = Background()
    seen = []

    def embed(call, cut_to, deadline):
        seen.append(background.a.standing.in_flight)
        return vectors([1])

    background.a.embed = embed
    background.apart.embed(background.a, ["1"], 0.0)
    assert seen == [0]
    assert background.a.standing.latency.recent_average_s(T) is None


@pytest.mark.parametrize("error", [Rejected("no"), Throttled("429", retry_after=60)])
def test_background_call_that_fails_changes_no_health(error):
    background = Background()
    background.error = error
    for _ in range(10):
        with pytest.raises(type(error)):
            background.apart.embed(background.a, ["1"], 0.0)
    assert background.a.breaker.state(T) == "ok"
    assert not background.a.breaker.failures_in_a_row
    assert background.a.standing.trusts_400(None, T) == background.b.standing.trusts_400(None, T)


def test_background_call_ends_with_the_check_that_it_is_of():
    background = Background()
    left = []

    def embed(call, cut_to, deadline):
        left.append(deadline.remaining())
        return vectors([1])

    background.a.embed = embed
    background.apart.embed(background.a, ["1"], 0.0, ends_by=time.monotonic() + 60)
    assert 0 < left[0] <= 60


def test_background_call_takes_no_slot_while_requests_wait():
    background = Background()
    started = []
    background.sender._start_thread = lambda run, arguments: started.append((run, arguments))
    background.submit(background.b, 0)
    background.submit(background.b, 1, group=None)  # waits for the only slot
    with pytest.raises(NoIdleSlot):
        background.apart.embed(background.a, ["1"], 0.0)
    with pytest.raises(NoIdleSlot):
        background.apart.embed(background.a, ["1"], 1e9, is_stopping=lambda: True)
    assert background.calls == []


def test_background_call_waits_for_an_idle_slot():
    background = Background()
    busy = background.queue.submit(attempt(background.b), T)

    def sleep(seconds):
        background.slept += 1
        if background.slept == 3:
            background.queue.close(busy)
            background.queue.finish_attempt(busy.attempts[0], 1)
            background.queue.finish(busy, T)

    background.apart._sleep = sleep
    assert isinstance(background.apart.embed(background.a, ["1"], 60.0), Vectors)
    assert background.slept == 3


def test_background_call_leaves_the_last_slot_to_requests():
    background = Background()
    background.queue.set_slots(4, T)
    for number in range(3):
        background.queue.submit(attempt(background.b, group=number), T)
    with pytest.raises(NoIdleSlot):
        background.apart.embed(background.a, ["1"], 0.0)


def test_background_call_is_charged_to_the_quota():
    background = Background(requests_per_minute=1)
    background.apart.embed(background.a, ["1"], 0.0)
    with pytest.raises(NoIdleSlot):
        background.apart.embed(background.a, ["1"], 0.0)
    assert len(background.calls) == 1


def test_idle_submission_leaves_the_queue_as_it_was_where_it_is_refused():
    queue = SlotQueue(1)
    a = deployment("a", queue)
    batch = queue.submit_if_idle(attempt(a, group=None), T)
    assert batch is not None
    assert queue.submit_if_idle(attempt(a, group=None), T) is None
    assert (queue.free, queue.waiting, queue.outstanding(a)) == (0, 0, 1)


def test_background_call_waits_for_requests_even_where_a_slot_is_free():
    queue = SlotQueue(3)
    a, b = deployment("a", queue, concurrency=1), deployment("b", queue)
    queue.submit(attempt(a, group=None), T)
    assert queue.submit_if_idle(attempt(a, group=None), T) is None  # its own slot is taken
    queue.submit(attempt(a, group=None), T)  # waits for it
    assert (queue.free, queue.waiting) == (2, 1)
    assert queue.submit_if_idle(attempt(b, group=None), T) is None
