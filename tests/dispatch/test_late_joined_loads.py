"""A call of a load is late by the deadlines of those requests that wait for its items."""

from collections import Counter

import pytest

from app.dispatch.job.context import JobDeadline
from tests.dispatch.arrangements import codes, load, models, waited
from tests.dispatch.members import good
from tests.dispatch.parts import T
from tests.dispatch.simulator import simulated

TWO = {"m": [{"provider": "a", "max_inputs": 1}, {"provider": "b", "max_inputs": 1, "tier": 1}]}


def times_sent(run):
    return Counter(item for call in run.calls() for item in call.items)


@pytest.mark.parametrize("tier", [0, 1])
def test_requests_that_wait_for_other_items_make_no_call_late(tier):
    """Each query has three seconds for a call of one; an ingest has many such calls."""
    two = {"m": [{**TWO["m"][0]}, {**TWO["m"][1], "tier": tier}]}
    members, options = dict.fromkeys("ab", good(1.0)), {"concurrency": 8, "merge": False}
    with simulated(members, two, caching=True, **options) as run:
        load(run, 60, 0.2)
        large = run.ask("m", [f"doc{i}" for i in range(200)], after=15)
        queries = [
            run.ask("m", [f"doc{199 - i}"], after=16 + i * 0.25, timeout=3) for i in range(40)
        ]
        run.to_the_end()
        assert codes([large, *queries]) == {"ok": 41}
        assert set(times_sent(run).values()) == {1}


def test_only_the_call_that_a_request_waits_for_is_late_by_its_deadline():
    """a does not answer for some time: the query is answered by b, in half of its time."""

    def slow(world, call):
        return 20.0 if world.now < 1001 else 0.05, None

    with simulated({"a": slow, "b": good(0.05)}, TWO, caching=True, concurrency=2) as run:
        large = run.ask("m", ["x", "y"])
        query = run.ask("m", ["y"], after=0.5, timeout=4)
        run.to_the_end()
        assert codes([large, query]) == {"ok": 2}
        assert waited(query) < 2.2
        b = [(call.items, call.began < 1004) for call in run.calls("b")]
        assert b == [(["y"], True), (["x"], False)]  # x after ten seconds, as without the query


@pytest.mark.parametrize("first", [3, 6])
def test_call_is_late_by_each_of_the_requests_that_wait_for_its_item(first):
    """The first query of two leaves, or has its item, before the second."""
    members = {"a": good(30.0), "b": good(0.05)}
    with simulated(members, TWO, caching=True, concurrency=2) as run:
        run.ask("m", ["x", "y"], timeout=600)
        queries = [
            run.ask("m", ["y"], after=0.5, timeout=first),
            run.ask("m", ["y"], after=0.6, timeout=9 - first),
        ]
        run.to_the_end()
        assert codes(queries) == {"ok": 2}
        assert max(map(waited, queries)) < 2.2


def test_part_has_the_deadline_of_any_request_that_waits_for_one_of_its_items():
    members = {"a": good(30.0), "b": good(0.05)}
    two = models("a", max_inputs=2)["m"] + [{"provider": "b", "tier": 1}]
    with simulated(members, {"m": two}, caching=True, concurrency=2) as run:
        run.ask("m", ["v", "w", "x", "y"], timeout=600)
        query = run.ask("m", ["y"], after=0.5, timeout=4)
        run.to_the_end()
        assert codes([query]) == {"ok": 1}
        assert waited(query) < 2.5


def test_request_that_has_left_makes_no_call_late():
    deadline = JobDeadline(T + 10)
    deadline.add_caller(T + 60, [0, 1])
    assert deadline.soonest(T, 0, 2) == T + 10
    assert deadline.soonest(T + 12, 0, 2) == T + 60
    assert deadline.soonest(T + 12, 2, 3) == T + 60  # no request waits for it: until the job ends
