"""The sender reports the result of each attempt once, and frees every slot."""

import time

import pytest

from app.dispatch.deployments.token_estimate import Expected
from app.dispatch.events import Events
from app.dispatch.queue.attempts import AttemptState, NotSent, kind_of
from app.dispatch.queue.batch import MIN_ATTEMPTS
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending.sender import Sender
from app.errors import (
    InternalError,
    Overloaded,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from tests.dispatch.parts import attempt, deployment, pool, vectors


class Sending:
    """A sender of deployments "a" and "b" of one provider, for two models.

    Threads run when `run` is called. ``embed`` of a deployment is a function of its items.
    """

    def __init__(self, slots=1, **settings):
        self.queue = SlotQueue(slots)
        self.a = deployment("a", self.queue, **settings)
        self.b = deployment("b", self.queue)
        self.calls, self.results, self.threads = [], {}, []
        for made in (self.a, self.b):
            made.embed = self.embed
        self.refused = ()  # items
        self.error = None  # of every call
        self.sender = Sender(
            {self.a: pool(self.a), self.b: pool(self.b)},
            Events(),
            start_thread=lambda run, arguments: self.threads.append((run, arguments)),
        )

    def embed(self, call, cut_to, deadline):
        self.calls.append(list(call.items))
        if self.error is not None:
            raise self.error
        if set(self.refused) & set(call.items):
            raise Rejected("your input is invalid")
        return vectors([int(item) for item in call.items])

    def submit(self, to, item, **options):
        made = attempt(to, on_result=self.on_result, **options)
        made.call = made.call.with_items([str(item)])
        self.sender.send(self.queue.submit(made, time.monotonic()))
        return made

    def on_result(self, one, result, now):
        assert one not in self.results
        self.results[one] = result

    def run(self):
        while self.threads:
            run, arguments = self.threads.pop(0)
            run(*arguments)

    def assert_all_told(self, *attempts):
        assert set(self.results) == set(attempts)
        assert self.queue.free == self.queue.slots
        assert self.queue.waiting == 0
        assert not any(self.queue.outstanding(d) for d in (self.a, self.b))


def test_each_attempt_of_a_call_gets_its_own_vectors():
    sending = Sending()
    attempts = [sending.submit(sending.a, n) for n in range(5)]
    sending.run()
    sending.assert_all_told(*attempts)
    assert [sending.results[one] for one in attempts] == [vectors([n]) for n in range(5)]
    assert len(sending.calls) == 1
    assert {one.batch_size for one in attempts} == {5}


@pytest.mark.parametrize("bad", [{3}, {0}, {7}, {2, 5}, set(range(8))])
def test_only_the_offenders_of_a_refused_call_are_refused(bad):
    sending = Sending()
    sending.refused = [str(n) for n in bad]
    attempts = [sending.submit(sending.a, n) for n in range(8)]
    sending.run()
    sending.assert_all_told(*attempts)
    for n, one in enumerate(attempts):
        assert isinstance(sending.results[one], Rejected) == (n in bad)


def test_an_item_that_was_refused_is_not_merged_for_a_while():
    sending = Sending()
    sending.refused = ["0"]
    bad = sending.submit(sending.a, 0)
    sending.run()
    kind = kind_of(bad.call, None)
    assert sending.a.group(bad.call, kind, bad.call_started_at + 1) is None
    assert sending.a.group(bad.call, kind, bad.call_started_at + 10_000) is not None


def test_429_sends_queued_attempts_elsewhere():
    sending = Sending()
    sending.sender._pool_of[sending.a].is_alone = False
    sending.error = Throttled("slow down", retry_after=30)
    first = sending.submit(sending.a, 0)
    run, arguments = sending.threads.pop()
    sending.queue.close(*arguments)
    waiting = sending.submit(sending.a, 1)
    run(*arguments)
    sending.assert_all_told(first, waiting)
    assert isinstance(sending.results[waiting], NotSent)
    assert len(sending.calls) == 1


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_failed_thread_start_frees_its_slot(error):
    sending = Sending(tokens_per_minute=100)

    def no_thread(*_):
        raise error("can't start new thread")

    sending.sender._start_thread = no_thread
    one = sending.submit(sending.a, 0)
    sending.assert_all_told(one)
    assert isinstance(sending.results[one], Overloaded)
    assert sending.a.quota_wait_s(Expected(100, 100), time.monotonic()) == 0


def submit_burst(sending):
    """Submit attempts of which the last one lets their call start early."""
    for _ in range(20):
        sending.a.durations.add(1, 1, 1000.0)
        sending.a.durations.add(MIN_ATTEMPTS, MIN_ATTEMPTS, 1000.0)
    return [sending.submit(sending.a, n) for n in range(MIN_ATTEMPTS)]


def test_call_that_starts_early_is_made_once():
    sending = Sending(slots=2)
    attempts = submit_burst(sending)
    assert len(sending.threads) == 2
    following = sending.submit(sending.a, MIN_ATTEMPTS)
    sending.run()
    sending.assert_all_told(*attempts, following)
    assert list(map(len, sending.calls)) == [MIN_ATTEMPTS, 1]


@pytest.mark.parametrize("runs_first", [True, False])
def test_thread_of_an_early_start_that_cannot_be_started(runs_first):
    """The call is made by the thread that was started as the batch was opened."""
    sending = Sending(slots=2)

    def no_thread(*_):
        if runs_first:
            sending.run()
        raise RuntimeError("can't start new thread")

    sending.sender._start_now = no_thread
    attempts = submit_burst(sending)
    sending.run()
    sending.assert_all_told(*attempts)
    assert not any(isinstance(sending.results[one], Overloaded) for one in attempts)
    assert list(map(len, sending.calls)) == [MIN_ATTEMPTS]


def test_bug_in_a_call_fails_its_attempts_and_frees_its_slot():
    sending = Sending()
    sending.error = ZeroDivisionError()
    attempts = [sending.submit(sending.a, n) for n in range(3)]
    sending.run()
    sending.assert_all_told(*attempts)
    assert all(isinstance(sending.results[one], InternalError) for one in attempts)


def test_abandoned_attempt_gets_no_result():
    sending = Sending()
    stays, leaves = (sending.submit(sending.a, n) for n in range(2))
    sending.queue.abandon(leaves)
    sending.run()
    sending.assert_all_told(stays)
    assert leaves.state is AttemptState.DONE


def test_after_a_failure_the_thread_sends_the_next_batch():
    sending = Sending()
    sending.error = ProviderUnavailable("failed with 503")
    first = sending.submit(sending.a, 0)
    ((run, arguments),) = sending.threads
    sending.queue.close(*arguments)
    waiting = [sending.submit(sending.b, n) for n in (1, 2)]
    run(*arguments)
    sending.assert_all_told(first, *waiting)
    assert sending.calls == [["0"], ["1", "2"]]


def test_bisection_without_quota_frees_its_slot():
    """The refused attempts are returned; queued attempts are sent instead."""
    sending = Sending(tokens_per_minute=100)
    sending.refused = ["0"]
    refused = [sending.submit(sending.a, n, tokens=30) for n in range(3)]
    ((run, arguments),) = sending.threads
    sending.queue.close(*arguments)
    waiting = sending.submit(sending.a, 3, tokens=30, group="h")
    other = sending.submit(sending.b, 4)
    run(*arguments)
    sending.assert_all_told(*refused, waiting, other)
    assert sending.results[other] == vectors([4])


def test_attempts_returned_by_bisection_use_free_slots():
    """Three of four are sent again; when they are refused, the fourth is returned."""
    sending = Sending(slots=2)
    sending.refused = ["0"]
    four = [sending.submit(sending.a, n) for n in range(4)]
    begun = []

    def embed(call, cut_to, deadline):
        begun.append((list(call.items), bool(sending.threads) or four[3] in sending.results))
        return Sending.embed(sending, call, cut_to, deadline)

    sending.a.embed = embed
    sending.run()
    sending.assert_all_told(*four)
    assert [items for items, _ in begun[:3]] == [["0", "1", "2", "3"], ["0", "1", "2"], ["0", "1"]]
    assert begun[2][1], "the fourth waits, although a slot is free"
