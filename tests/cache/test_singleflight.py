"""Single flight: an item is embedded once for all requests, which get it when it is published."""

import threading
import time
from types import SimpleNamespace

import pytest

from app.cache import fetch
from app.cache.singleflight import SingleFlight
from app.concurrency.locks import Wakeup
from app.domain import Entry
from app.errors import BadRequest, ClientClosedRequest, DeadlineExceeded
from tests.cache.flights import SOURCE
from tests.support.server import eventually


def test_an_item_is_embedded_once_for_all_requests(flights):
    first = flights.fetch(b"a", b"b")
    job = flights.job()
    others = [flights.fetch(b"b") for _ in range(3)]
    flights.wait_for_waiters(b"b", 4)
    job.publish()
    job.end()
    assert first.join().entries == {b"a": Entry(b"aaaa", 1), b"b": Entry(b"bbbb", 1)}
    for other in others:
        assert other.join().entries == {b"b": Entry(b"bbbb", 1)}
        assert other.join().attempts == 0
    assert len(flights.jobs) == 1
    assert flights.stored == first.join().entries


def test_an_owner_with_all_items_succeeds_before_its_job_has_ended(flights):
    """The thread of the last call publishes its vectors a moment before it ends the job."""
    owner = flights.fetch(b"a", b"b")
    job = flights.job()
    job.publish()
    assert owner.join().entries == {b"a": Entry(b"aaaa", 1), b"b": Entry(b"bbbb", 1)}
    assert owner.join().purchases == {SOURCE: 2}
    job.end(BadRequest("too late to matter"))


def test_tokens_of_a_load_are_paid_once(flights):
    first = flights.fetch(b"a", b"b")
    job = flights.job()
    other = flights.fetch(b"a", b"b")
    flights.wait_for_waiters(b"a", 2)
    job.publish()
    job.end()
    assert first.join().purchases == {SOURCE: 2}
    assert other.join().purchases == {}
    assert first.join().sources == other.join().sources == {b"a": SOURCE, b"b": SOURCE}


def test_a_waiter_returns_when_its_own_items_are_published(flights):
    first = flights.fetch(b"a", b"b")
    job = flights.job()
    other = flights.fetch(b"a")
    flights.wait_for_waiters(b"a", 2)
    job.publish(0, 1)
    assert other.join().entries == {b"a": Entry(b"aaaa", 1)}
    assert b"a" in flights.stored
    job.publish(1, 2)
    job.end()
    assert len(first.join().entries) == 2


def test_items_that_are_not_in_a_load_get_a_load(flights):
    first = flights.fetch(b"a")
    one = flights.job()
    second = flights.fetch(b"a", b"c")
    other = flights.job()
    assert other.keys == [b"c"]
    other.publish()
    other.end()
    one.publish()
    one.end()
    first.join()
    assert set(second.join().entries) == {b"a", b"c"}


def test_a_waiter_extends_the_deadline_of_the_load_it_joins(flights):
    first = flights.fetch(b"a", seconds=50)
    job = flights.job()
    before = job.deadline
    second = flights.fetch(b"a", seconds=500)
    flights.wait_for_waiters(b"a", 2)
    eventually(lambda: job.deadline > before)
    job.publish()
    job.end()
    first.join()
    second.join()


def test_load_ends_at_the_last_deadline_and_reports_purchases(flights):
    flights.at_start = lambda job: job.publish(0, 1)
    error = flights.fetch(b"a", b"b", seconds=0.1).join()
    assert isinstance(error, DeadlineExceeded)
    assert (error.purchases, error.attempts) == ({SOURCE: 1}, 1)
    assert flights.job().is_cancelled


def test_waiter_pays_if_the_owner_timed_out(flights, monkeypatch):
    passed_s = 0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
    monkeypatch.setattr(fetch, "time", clock)
    owner = flights.fetch(b"a", seconds=60)
    job = flights.job()
    other = flights.fetch(b"a", seconds=600)
    flights.wait_for_waiters(b"a", 2)
    passed_s = 60
    assert isinstance(owner.join(), DeadlineExceeded)
    assert not job.is_cancelled
    job.publish()
    job.end()
    assert other.join().purchases == {SOURCE: 1}


def test_load_ends_when_its_last_client_has_left(flights):
    gone = threading.Event()
    owner = flights.fetch(b"a", has_left=gone.is_set)
    job = flights.job()
    other = flights.fetch(b"a", has_left=gone.is_set)
    flights.wait_for_waiters(b"a", 2)
    gone.set()
    assert isinstance(owner.join(), ClientClosedRequest)
    assert isinstance(other.join(), ClientClosedRequest)
    assert job.is_cancelled


def test_items_that_come_just_after_the_last_waiter_has_left_are_charged_later(flights):
    """The job may have accepted them before it was cancelled."""
    only = flights.fetch(b"a", b"b", has_left=lambda: True)
    job = flights.job()
    error = only.join()
    job.publish()
    assert (error.purchases, flights.charged) == ({}, [(SOURCE, 2)])
    assert set(flights.stored) == {b"a", b"b"}


def test_load_goes_on_for_those_whose_client_stays(flights):
    gone = threading.Event()
    owner = flights.fetch(b"a", has_left=gone.is_set)
    job = flights.job()
    other = flights.fetch(b"a")
    flights.wait_for_waiters(b"a", 2)
    gone.set()
    assert isinstance(owner.join(), ClientClosedRequest)
    assert not job.is_cancelled
    job.publish()
    job.end()
    assert other.join().purchases == {SOURCE: 1}


def test_a_failed_load_is_retried_by_waiters_and_not_by_its_owner(flights):
    owner = flights.fetch(b"a")
    job = flights.job()
    other = flights.fetch(b"a")
    flights.wait_for_waiters(b"a", 2)
    job.end(BadRequest("Not this text."))
    assert isinstance(owner.join(), BadRequest)
    again = flights.job()
    assert again is not job
    again.publish()
    again.end()
    assert other.join().entries == {b"a": Entry(b"aaaa", 1)}
    assert other.join().purchases == {SOURCE: 1}


def test_published_items_of_a_failed_load_are_kept(flights):
    owner = flights.fetch(b"a", b"b")
    job = flights.job()
    other = flights.fetch(b"b", b"a")
    flights.wait_for_waiters(b"b", 2)
    job.publish(0, 1)
    job.end(BadRequest("Not this text."))
    error = owner.join()
    assert isinstance(error, BadRequest)
    assert error.purchases == {SOURCE: 1}
    again = flights.job()
    assert again.keys == [b"b"]
    again.publish()
    again.end()
    assert set(other.join().entries) == {b"a", b"b"}


def test_a_load_that_cannot_start_fails_its_request_and_is_removed(flights):
    flights.fail_start = BadRequest("No deployment is so wide.")
    assert isinstance(flights.fetch(b"a").join(), BadRequest)


def test_an_exception_at_the_start_of_a_load_is_raised_and_the_load_is_removed(flights):
    flights.fail_start = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        flights.flights.fetch([b"a"], time.monotonic() + 60, 60, flights)


def test_after_two_shared_failures_each_request_has_its_own_load(flights):
    owner = flights.fetch(b"a")
    first = flights.job()
    others = [flights.fetch(b"a") for _ in range(2)]
    flights.wait_for_waiters(b"a", 3)
    first.end(BadRequest("no"))
    assert isinstance(owner.join(), BadRequest)
    second = flights.job()
    flights.wait_for_waiters(b"a", 2)
    second.end(BadRequest("no"))
    alone = flights.job()  # of the request that did not own the second load
    assert flights.flights._loads == {}
    alone.publish()
    alone.end()
    results = [other.join() for other in others]
    assert sorted(isinstance(result, BadRequest) for result in results) == [False, True]
    assert len(flights.jobs) == 3


def test_claim_joins_running_loads_and_takes_the_other_items():
    single, one, other = SingleFlight(), Wakeup(), Wakeup()
    (own,) = single.claim([b"a", b"b"], 10.0, one)
    joined, rest = single.claim([b"b", b"c", b"a"], 20.0, other)
    assert joined.load is own.load
    assert own.load.deadline == 20.0
    assert list(rest.load.keys) == [b"c"]
    assert (rest.wakeup, own.wakeup) == (other, one)
    assert [waiter.is_owner for waiter in (own, joined, rest)] == [True, False, True]


def test_request_that_fails_to_join_a_load_leaves_none_that_others_would_wait_for(flights):
    def fail(*_):
        raise ArithmeticError("a bug")

    owner = flights.fetch(b"a", b"c")
    job = flights.job()
    job.start_first = fail
    with pytest.raises(ArithmeticError):
        flights.flights.fetch([b"a", b"b"], time.monotonic() + 60, 60, flights)
    assert set(flights.flights._loads) == {b"a", b"c"}
    assert len(flights.flights._loads[b"a"].waiters) == 1
    job.publish()
    job.end()
    assert len(owner.join().entries) == 2


def test_error_of_own_load_is_raised_at_once(flights):
    slow = flights.fetch(b"slow")
    slow_job = flights.job()
    both = flights.fetch(b"slow", b"bad")
    flights.job().end(BadRequest("no"))
    assert isinstance(both.join(), BadRequest)
    slow_job.publish()
    slow_job.end()
    slow.join()


def test_items_of_a_failed_load_are_claimed_while_the_own_load_runs(flights):
    owner = flights.fetch(b"a")
    failing = flights.job()
    other = flights.fetch(b"a", b"b")
    own = flights.job()
    flights.wait_for_waiters(b"a", 2)
    failing.end(BadRequest("no"))
    again = flights.job()
    assert list(again.keys) == [b"a"]
    assert not own.is_cancelled
    for job in (again, own):
        job.publish()
        job.end()
    assert other.join().entries.keys() == {b"a", b"b"}
    assert isinstance(owner.join(), BadRequest)
