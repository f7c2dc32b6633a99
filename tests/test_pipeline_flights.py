"""Concurrent requests for an item share one call (single flight)."""

import threading

from app.domain import Caller
from app.errors import (
    BadRequest,
    ClientError,
    Rejected,
)
from app.pipeline import Pipeline
from tests.support.server import eventually
from tests.test_pipeline import assert_right
from tests.test_pipeline import bench as bench

CALLER = Caller("me")


class Together:
    """A pipeline run in its own thread; ``join`` returns its outcome or raises its error."""

    def __init__(self, bench, *items, **fields):
        self._result = None
        self._thread = threading.Thread(target=self._run, args=(bench, items, fields))
        self._thread.start()

    def _run(self, bench, items, fields):
        try:
            self._result = bench.run(*items, **fields)
        except ClientError as error:
            self._result = error

    def join(self):
        self._thread.join(20)
        return self._result


def wait_until_joined(bench, number):
    """Wait until so many callers wait for loads; only private state shows it."""
    flights = bench.pipeline._flights
    eventually(lambda: sum(len(one.waiters) for one in {*flights._loads.values()}) >= number)


def test_concurrent_requests_for_an_item_share_one_call(bench):
    bench.provider.hold = threading.Event()
    callers = [Together(bench, "a", f"own {n}") for n in range(3)]
    wait_until_joined(bench, 5)  # each for its own load, two for another's as well
    bench.provider.hold.set()
    for n, caller in enumerate(callers):
        assert_right(caller.join(), ["a", f"own {n}"])
    assert bench.provider.items.count("a") == 1


def test_models_of_one_space_share_flights_and_entries(bench):
    spaces = {"embed": "acme/bge", "steady": "acme/bge"}
    bench.pipeline = Pipeline(bench.dispatcher, bench.cache, spaces=spaces)
    bench.provider.hold = threading.Event()
    callers = [Together(bench, "a", model=model) for model in ("embed", "steady")]
    wait_until_joined(bench, 2)
    bench.provider.hold.set()
    outcomes = [caller.join() for caller in callers]
    assert sum(sum(outcome.purchases.values()) for outcome in outcomes) == 1
    for outcome in (*outcomes, bench.run("a", model="steady"), bench.run("a")):
        assert_right(outcome, ["a"])
    assert bench.provider.items == ["a"]


def test_models_of_other_spaces_share_nothing(bench):
    spaces = {"embed": "acme/bge", "steady": "acme/other"}
    bench.pipeline = Pipeline(bench.dispatcher, bench.cache, spaces=spaces)
    bench.provider.hold = threading.Event()
    callers = [Together(bench, "a", model=model) for model in ("embed", "steady")]
    wait_until_joined(bench, 2)
    bench.provider.hold.set()
    assert [caller.join().cache for caller in callers] == ["miss", "miss"]
    assert bench.provider.items == ["a", "a"]


def test_waiter_retries_after_a_failed_load(bench):
    bench.provider.hold = threading.Event()
    bench.provider.fail = Rejected("Not yours.")
    first = Together(bench, "a")
    assert bench.provider.entered.acquire(timeout=20)
    second = Together(bench, "a", "b")
    assert bench.provider.entered.acquire(timeout=20)  # for "b": it has claimed
    third = Together(bench, "a")
    wait_until_joined(bench, 4)
    bench.provider.fail = None
    bench.provider.hold.set()
    assert isinstance(first.join(), BadRequest)
    assert isinstance(second.join(), BadRequest)  # its own load failed too
    assert_right(third.join(), ["a"])
