"""Loads that other requests have joined: what starts first, what is stopped, and who pays."""

import time

import pytest

from app.cache.fetch import Collected
from app.cache.singleflight import SingleFlight
from app.concurrency.locks import Wakeup
from app.domain import Flow, Vectors
from tests.cache.flights import SOURCE, FakeJob, Flights
from tests.support.server import eventually

KEYS = [b"a", b"b", b"c", b"d", b"e", b"f"]


class Joined:
    """A load of six items in parts of two, without threads."""

    def __init__(self, flow=Flow()):  # noqa: B008 - it cannot change
        self.single, self.now = SingleFlight(), 100.0
        self.owner = self.join(*KEYS, flow=flow)
        self.load = self.owner.load
        self.job = self.load.job = FakeJob(self, KEYS, 0.0, None, None)
        self.job.stops = ()

    def join(self, *keys, flow=Flow()):  # noqa: B008
        return self.single.claim(list(keys), self.now + 60, Wakeup(), flow)[-1]

    def publish(self, start, stop):
        rows = [key * 4 for key in KEYS[start:stop]]
        vectors = Vectors(rows, [1] * len(rows))
        self.single.publish(self.load, start, stop, vectors, SOURCE, Flights())

    def leave(self, waiter):
        """Let a waiter leave; return the tokens that it pays for."""
        collected = Collected()
        self.single.leave(waiter, collected, self.now)
        return collected.purchases.get(SOURCE, 0)

    def joinable(self):
        return [key for key in KEYS if self.single._loads.get(key) is self.load]


@pytest.fixture
def joined():
    return Joined()


def test_items_of_a_request_that_joins_start_first(joined):
    joined.join(b"e", b"c")
    assert joined.job.wants == [([b"c", b"e"], "default")]


def test_a_request_that_joins_all_items_changes_no_order(joined):
    joined.join(*KEYS)
    assert joined.job.wants == []


@pytest.mark.parametrize(
    ("owner", "other", "is_told"),
    [("flex", "default", True), ("default", "priority", True), ("priority", "flex", False)],
)
def test_the_job_gets_the_flow_of_a_request_of_a_better_tier(owner, other, is_told):
    joined = Joined(Flow(tier=owner))
    joined.join(*KEYS, flow=Flow(tier=other))
    assert joined.job.wants == ([(KEYS, other)] if is_told else [])


def test_items_of_a_request_that_joins_before_the_job_exists_start_first():
    flights = Flights()
    make_job, joiners = flights.make_job, []

    def slow_make_job(*args):
        joiners.append(flights.flights.claim([b"b"], time.monotonic() + 60, Wakeup())[0])
        return make_job(*args)

    flights.make_job = slow_make_job
    owner = flights.fetch(b"a", b"b")
    job = flights.job()
    eventually(lambda: job.wants)
    assert job.wants == [([b"b"], "default")]
    job.publish()
    job.end()
    assert len(owner.join().entries) == 2


def test_once_the_owner_has_left_only_missed_items_are_embedded(joined):
    one, other = joined.join(b"a", b"e"), joined.join(b"e")
    joined.publish(0, 2)
    joined.leave(joined.owner)
    assert joined.job.kept == [b"e"]
    joined.job.kept = None
    joined.leave(other)
    assert joined.job.kept == [b"e"]
    joined.leave(one)
    assert joined.job.is_cancelled


def test_while_the_owner_waits_nothing_is_stopped(joined):
    joined.leave(joined.join(b"a"))
    assert joined.job.kept is None


def test_a_waiter_that_has_all_its_items_stops_nothing(joined):
    one, _ = joined.join(b"a"), joined.join(b"e")
    joined.leave(joined.owner)
    joined.job.kept = None
    joined.publish(0, 2)
    joined.leave(one)
    assert joined.job.kept is None


def test_stopped_items_are_claimed_anew_and_the_others_can_be_joined(joined):
    joined.join(b"e")
    joined.job.stops = [(0, 3)]
    joined.leave(joined.owner)
    assert joined.joinable() == [b"d", b"e", b"f"]
    assert joined.join(b"a").load is not joined.load
    assert joined.join(b"f").load is joined.load


def test_items_cannot_be_joined_while_the_job_stops_them(joined):
    joined.join(b"e")
    during = []
    keep_only = joined.job.keep_only

    def observed(positions, now):
        during.append(joined.joinable())
        during.append(joined.join(b"a").load)
        return keep_only(positions, now)

    joined.job.keep_only = observed
    joined.leave(joined.owner)
    assert during[0] == [b"e"]
    assert during[1] is not joined.load
    assert joined.single._loads[b"a"] is during[1]


def test_items_that_another_waiter_stops_meanwhile_cannot_be_joined(joined):
    """Two waiters leave at once: the second one stops what the first one has kept."""
    one, _ = joined.join(b"c"), joined.join(b"e")

    def first(positions, now):
        joined.job.keep_only = lambda *_: [(2, 4)]
        joined.leave(one)
        return [(0, 2)]

    joined.job.keep_only = first
    joined.leave(joined.owner)
    assert joined.joinable() == [b"e", b"f"]


def test_items_of_a_load_that_ends_while_its_job_stops_cannot_be_joined(joined):
    joined.join(b"e")

    def ends(positions, now):
        joined.single.end(joined.load, None)
        return []

    joined.job.keep_only = ends
    joined.leave(joined.owner)
    assert joined.single._loads == {}


def test_items_that_are_published_while_the_job_stops_are_not_joined_again(joined):
    joined.join(b"e")

    def publishes(positions, now):
        joined.publish(0, 2)
        return [(2, 4)]

    joined.job.keep_only = publishes
    joined.leave(joined.owner)
    assert joined.joinable() == [b"e", b"f"]


def test_the_owner_pays_for_what_came_until_it_leaves(joined):
    one = joined.join(b"c")
    joined.publish(0, 2)
    joined.publish(2, 4)
    assert joined.leave(one) == 0
    joined.publish(4, 6)
    assert joined.leave(joined.owner) == 6


def test_after_the_owner_each_waiter_pays_for_the_parts_with_its_items(joined):
    one, other, third = joined.join(b"a"), joined.join(b"c"), joined.join(b"c", b"e")
    joined.publish(0, 1)
    assert joined.leave(joined.owner) == 1
    joined.publish(1, 2)
    joined.publish(2, 4)
    joined.publish(4, 6)
    assert joined.leave(one) == 1  # that no other waiter wanted
    assert joined.leave(other) == 2
    assert joined.leave(third) == 2


def test_the_last_waiter_pays_for_everything_that_is_left(joined):
    one = joined.join(b"a")
    joined.leave(joined.owner)
    joined.publish(0, 2)
    joined.publish(2, 4)
    assert joined.leave(one) == 4
