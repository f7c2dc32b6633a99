"""Single flight: all waiting requests get an item as soon as it is embedded."""

import pytest

from app.domain import Flow
from tests.dispatch.arrangements import START, codes, load, models, waited
from tests.dispatch.members import POISON, between, failing, good, silent, throttling
from tests.dispatch.simulator import simulated

TENS = models("a", max_inputs=10)


def ingest(number):
    return [f"doc{i}" for i in range(number)]


def test_item_of_a_large_request_is_available_when_it_is_embedded():
    with simulated({"a": good(0.05)}, TENS, caching=True, concurrency=4) as run:
        large = run.ask("m", ingest(4000))
        query = run.ask("m", ["doc0"], after=1.5, timeout=5)
        run.to_the_end()
        assert waited(large) > 4
        assert codes([large, query]) == {"ok": 2}
        assert waited(query) < 0.1
        assert sum("doc0" in call.items for call in run.calls()) == 1


def test_queued_item_of_a_large_request_is_available_with_its_part():
    """Joined before its part is sent: the request waits for that part, not for all."""
    with simulated({"a": good(0.05)}, TENS, caching=True, concurrency=4) as run:
        large = run.ask("m", ingest(4000))
        query = run.ask("m", ["doc0", "doc39"], after=0.01, timeout=5)
        run.to_the_end()
        assert codes([large, query]) == {"ok": 2}
        assert waited(query) < 0.2
        assert len(run.calls()) == 401


def test_joined_item_of_a_flex_request_does_not_wait_for_a_spread_quota():
    """Flex waits for the first tier; a query for the same text is sent to the idle second one."""
    tiers = {"m": [{"provider": "a", "requests_per_minute": 10}, {"provider": "b", "tier": 1}]}
    with simulated(dict.fromkeys("ab", good(0.1)), tiers, caching=True) as run:
        flex = Flow("x", tier="flex")
        bulk = [run.ask("m", [f"{i}"], after=i * 0.01, flow=flex) for i in range(3)]
        query = run.ask("m", ["2"], after=1, flow=Flow("y"))
        run.to_the_end()
        assert waited(bulk[1]) > 1
        assert waited(query) < 0.3
        assert [list(call.items) for call in run.calls("b")] == [["2"]]


def test_embedded_parts_are_kept_if_a_later_part_is_refused():
    """Ninety-nine good parts, then a bad one."""
    items = [*ingest(990), f"{POISON} of the last part"]
    with simulated({"a": good(0.05)}, TENS, caching=True, concurrency=4) as run:
        first = run.ask("m", items)
        again = run.ask("m", items[:-1], after=100)
        run.to_the_end()
        assert codes([first]) == {"BadRequest": 1}
        assert codes([again]) == {"ok": 1}
        assert again.outcome.cache in ("partial", "hit")
        # Those in flight beside the bad one may be cut with it.
        assert sum(call.began >= 1100 for call in run.calls()) <= 4


def test_embedded_parts_are_kept_if_the_provider_fails_later():
    members = {"a": between(1001, 1050, failing(1), good(0.05))}
    with simulated(members, TENS, caching=True, concurrency=4) as run:
        first = run.ask("m", ingest(1000))
        again = run.ask("m", ingest(1000), after=100)
        run.world.run()
        assert first.error is not None
        assert codes([again]) == {"ok": 1}
        assert again.outcome.cache == "partial"
        came = sum(len(c.items) for c in run.calls() if c.began < 1050 and c.error is None)
        sent_again = sum(len(c.items) for c in run.calls() if c.began > 1050)
        assert came > 500
        assert sent_again == 1000 - came


def test_timed_out_caller_does_not_end_parts_of_other_callers():
    with simulated({"a": good(0.5)}, TENS, caching=True, concurrency=2) as run:
        large = run.ask("m", ingest(100), timeout=1)
        patient = run.ask("m", ["doc99"], after=0.1, timeout=30)
        run.world.run()
        assert codes([large, patient]) == {"timeout": 1, "ok": 1}


def test_each_caller_of_a_failed_item_gets_its_own_exception():
    with simulated({"a": failing(1, 0.5)}, models("a"), caching=True) as run:
        asked = [run.ask("m", ["x"], after=i * 0.01, timeout=30) for i in range(10)]
        run.to_the_end()
        assert codes(asked) == {"upstream_error": 10}
        assert len({id(one.error) for one in asked}) == 10


def test_item_is_embedded_after_a_failed_thread_start():
    """The request without a thread fails at once; the next one with that item is served."""
    refused = [True]
    with simulated({"a": good(0.05)}, models("a"), caching=True) as run:
        run.world.may_start = lambda: not (refused and refused.pop())
        first = run.ask("m", ["x"], timeout=5)
        later = [
            run.ask("m", ["x"], after=10, timeout=5),
            run.ask("m", ["x", "y"], after=3600, timeout=600),
            run.ask("m", ["y"], after=3700, timeout=600),
        ]
        run.world.run()
        assert first.error is None or (first.error.status == 503 and waited(first) < 0.1)
        assert codes(later) == {"ok": 3}


def test_callers_without_a_thread_fail_at_once():
    with simulated({"a": good(0.05)}, models("a"), merge=False) as run:
        run.world.may_start = lambda: run.world.now >= 1005
        early, late = load(run, 20, 0.1), load(run, 20, 0.1, after=10)
        run.world.run()
        assert codes(early) == {"overloaded": 20}
        assert max(waited(one) for one in early) < 0.05
        assert codes(late) == {"ok": 20}


def test_parts_that_no_caller_waits_for_are_not_sent():
    """The first caller leaves: the other one gets its own part, and pays for no other."""
    with simulated({"a": good(0.5)}, TENS, caching=True, concurrency=2) as run:
        large = run.ask("m", ingest(1000), timeout=1)
        patient = run.ask("m", ["doc999"], after=0.9, timeout=30)
        run.to_the_end()
        assert codes([large, patient]) == {"timeout": 1, "ok": 1}
        assert waited(patient) < 2
        sent_after = [call for call in run.calls() if call.began > large.heard]
        assert sum("doc999" in call.items for call in run.calls()) == 1
        assert len(sent_after) <= 1
        part = next(call for call in run.calls() if "doc999" in call.items)
        assert sum(patient.outcome.purchases.values()) == part.total


def test_a_caller_that_outlives_the_first_one_buys_only_its_own_items():
    """Its part was not sent yet: the other items of the part are not sent at all."""
    with simulated({"a": good(0.5)}, TENS, caching=True, concurrency=1) as run:
        large = run.ask("m", ingest(100), timeout=0.3)
        patient = run.ask("m", ["doc57", "doc58"], after=0.1, timeout=30)
        run.to_the_end()
        assert codes([large, patient]) == {"timeout": 1, "ok": 1}
        after = [call for call in run.calls() if call.began >= large.heard]
        assert [list(call.items) for call in after] == [["doc57", "doc58"]]


def test_items_of_stopped_parts_are_embedded_for_the_next_caller():
    with simulated({"a": good(0.5)}, TENS, caching=True, concurrency=2) as run:
        large = run.ask("m", ingest(100), timeout=0.8)
        run.ask("m", ["doc99"], after=0.75, timeout=30)
        again = run.ask("m", ingest(100), after=0.9, timeout=30)
        run.to_the_end()
        assert codes([large, again]) == {"timeout": 1, "ok": 1}
        for item in ingest(100):
            calls = [call for call in run.calls() if item in call.items and call.good]
            assert len(calls) == 1


def test_a_caller_does_not_wait_for_other_parts_of_the_load_that_it_joins():
    with simulated({"a": good(0.05)}, TENS, caching=True, concurrency=4) as run:
        large = run.ask("m", ingest(8000))
        at_once = run.ask("m", ["doc7999"], after=0.001, timeout=5)
        later = run.ask("m", ["doc6001", "doc7001"], after=1.0, timeout=5)
        run.to_the_end()
        assert codes([large, at_once, later]) == {"ok": 3}
        assert waited(at_once) < 0.3
        assert waited(later) < 0.3
        assert len(run.calls()) == 801


def test_a_failed_part_of_a_caller_that_joined_is_tried_before_other_parts():
    failing_first = between(1000.9, 1001.1, failing(1), good(0.05))
    with simulated({"a": failing_first}, TENS, caching=True, concurrency=4) as run:
        large = run.ask("m", ingest(4000))
        query = run.ask("m", ["doc3999"], after=0.9, timeout=20)
        run.to_the_end()
        assert codes([large, query]) == {"ok": 2}
        assert waited(query) < 1.5


def test_flex_request_waits_for_a_rest_also_where_a_query_has_joined_it():
    """The query gets the 429 of its tier, which is no answer to the request that it joined."""
    members = {"a": between(START, START + 20, throttling(0, 5.0), good())}
    with simulated(members, models("a"), caching=True) as run:
        bulk = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"))
        query = run.ask("m", ["x"], after=1, timeout=30)
        run.to_the_end()
        assert codes([query]) == {"rate_limit_exceeded": 1}
        assert bulk.error is None
        assert waited(bulk) < 30


@pytest.mark.parametrize("timeouts", [(4, 600), (600, 4)])
def test_late_call_is_made_in_time_for_each_caller_of_a_load(timeouts):
    """Another deployment is called at half of the time of the one that leaves first."""
    tiers = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    with simulated({"a": silent, "b": good(0.05)}, tiers, caching=True) as run:
        first = run.ask("m", ["x"], timeout=timeouts[0])
        second = run.ask("m", ["x"], after=0.5, timeout=timeouts[1])
        run.to_the_end()
        assert codes([first, second]) == {"ok": 2}
        assert max(waited(first), waited(second)) < 3
        assert len(run.calls()) == 2
