"""A full queue of one provider does not affect others, and it holds no removed attempts."""

import gc
import weakref

import pytest

from app.dispatch.job.job import Job
from app.domain import Flow
from app.errors import ProviderUnavailable
from tests.dispatch.arrangements import codes, load, models, waited
from tests.dispatch.members import good
from tests.dispatch.simulator import simulated

SHARED = {"m": [{"provider": "a"}, {"provider": "b"}], "n": [{"provider": "b"}]}


def by_first_letter(**seconds):
    """Let calls take a time given by the first letter of their first item, or 0.05 s."""
    return lambda world, call: (seconds.get(call.items[0][0], 0.05), None)


@pytest.mark.parametrize("hedge", [False, True])
def test_full_queue_of_the_hedge_does_not_fail_a_request(hedge):
    """Model n fills the slots and the queue of b; m is served by a, slowly."""
    members = {"a": by_first_letter(s=1.0), "b": by_first_letter(n=20.0)}
    options = {"hedge": hedge, "concurrency": 2, "merge": False, "waiting": 5}
    with simulated(members, SHARED, **options) as run:
        load(run, 400, 0.05)
        for i in range(7):  # two in flight at b, five in its queue
            run.ask("n", [f"n{i}"], after=25, timeout=300)
        slow = [run.ask("m", [f"slow{i}"], after=26 + i * 2, timeout=30) for i in range(5)]
        run.world.run()
        assert codes(slow) == {"ok": 5}
        assert max(waited(one) for one in slow) < 1.5


def test_a_hedge_takes_no_place_in_a_full_queue():
    """Model n fills the queue of b; a hedge of m would be the second attempt of its request."""
    members = {"a": by_first_letter(s=1.0), "b": by_first_letter(n=20.0)}
    options = {"hedge": True, "concurrency": 2, "merge": False, "waiting": 5}
    with simulated(members, SHARED, **options) as run:
        load(run, 400, 0.05)
        noisy = [
            run.ask("n", [f"n{i}"], after=25, timeout=300, flow=Flow("noisy")) for i in range(7)
        ]
        slow = [run.ask("m", [f"slow{i}"], after=26 + i * 2, timeout=30) for i in range(5)]
        run.world.run()
        assert codes(slow) == {"ok": 5}
        assert codes(noisy) == {"ok": 7}


def test_retry_after_is_that_of_the_queue_that_is_full():
    """The queue of b was flushed as b was ejected: nothing waits there, and its rate is known."""
    down = [False]

    def b(world, call):
        return 0.5, ProviderUnavailable("failed") if down[0] else None

    with simulated({"a": good(0.5), "b": b}, SHARED, concurrency=1, merge=False, waiting=40) as run:
        run.world.at(1003, lambda: down.__setitem__(0, True))
        asked = load(run, 500, 0.05, timeout=300)
        run.world.run()
    refused = [one for one in asked if one.code == "overloaded" and one.at > 1012]
    assert refused
    assert min(one.error.retry_after for one in refused) > 5


def test_deployment_with_a_free_slot_is_used_if_another_queue_is_full():
    """b is much faster, but full; a is idle."""
    members = {"a": by_first_letter(), "b": by_first_letter(n=20.0)}
    weighted = {
        "m": [{"provider": "a", "weight": 1}, {"provider": "b", "weight": 50}],
        "n": [{"provider": "b"}],
    }
    with simulated(members, weighted, concurrency=2, merge=False, waiting=5) as run:
        for i in range(7):
            run.ask("n", [f"n{i}"], timeout=300)
        asked = load(run, 50, 0.1, after=1, timeout=30)
        run.world.run()
        assert codes(asked) == {"ok": 50}
        assert max(waited(one) for one in asked) < 1


@pytest.mark.parametrize("tier", ["flex", "default"])
def test_queue_full_of_attempts_that_wait_for_a_quota_refuses_no_other_model(tier):
    """Slots are free: requests of n, which has no quota, need no place in the queue."""
    limited = {"m": [{"provider": "a", "requests_per_minute": 20}], "n": [{"provider": "a"}]}
    flow = Flow("k", tier=tier)
    with simulated({"a": good(0.05)}, limited, concurrency=4, merge=False, waiting=5) as run:
        held = [
            run.ask("m", [f"m{i}"], timeout=3000, flow=Flow("k", tier="flex")) for i in range(12)
        ]
        others = [run.ask("n", [f"n{i}"], after=2 + i, timeout=30, flow=flow) for i in range(5)]
        run.world.run()
    assert codes(held)["overloaded"] == 6, "one was sent at once, and five found a place"
    assert codes(others) == {"ok": 5}
    assert max(waited(one) for one in others) < 0.1


def test_job_before_a_full_queue_is_woken_and_does_not_poll(monkeypatch):
    """Three requests of twenty parts; two slots, and three attempts may wait."""
    looks = []
    advance = Job.advance
    monkeypatch.setattr(Job, "advance", lambda job, now: looks.append(job) or advance(job, now))
    many = models("a", max_inputs=1)
    with simulated({"a": good(1)}, many, concurrency=2, merge=False, waiting=3) as run:
        asked = [
            run.ask("m", [f"{i} {k}" for k in range(20)], after=i * 0.1, timeout=300)
            for i in range(3)
        ]
        run.to_the_end()
        assert codes(asked) == {"ok": 3}
        assert max(waited(one) for one in asked) < 32  # both slots are always taken
    assert len(looks) < 300  # 60 calls; by looking a hundred times a second it would be thousands


def test_ended_job_is_not_held_by_a_full_queue():
    """Its client leaves while it waits for room."""
    with simulated({"a": good(60)}, models("a", max_inputs=1), concurrency=2, waiting=2) as run:
        run.ask("m", ["1", "2", "3"], timeout=300)
        held = [Text(f"{i}") for i in range(5)]
        references = [weakref.ref(text) for text in held]
        run.ask("m", held, after=0.1, timeout=300, leaves_after=3)
        run.ask("m", ["4"], after=0.05, timeout=300)
        del held
        run.world.run(until=1000 + 10)
        run.asked.pop(1)
        gc.collect()
        assert not any(reference() for reference in references)
        run.world.run()


class Text(str):
    """A text with weak references."""

    __slots__ = ("__weakref__",)


def test_attempt_timed_out_in_the_queue_is_removed():
    """One slot, taken for 60 s; texts of timed out requests are released."""
    with simulated({"a": good(60)}, models("a"), concurrency=1, merge=False) as run:
        run.ask("m", ["first"], timeout=100)
        held = []
        for i in range(200):
            text = Text(f"{i}" * 100)
            held.append(weakref.ref(text))
            run.ask("m", [text], after=0.1 + i * 0.001, timeout=1)
        del text
        run.world.run(until=1000 + 10)
        assert codes(run.asked[1:]) == {"timeout": 200}
        run.asked.clear()
        gc.collect()
        assert sum(ref() is not None for ref in held) == 0
        run.world.run()


def test_abandoned_requests_do_not_fill_the_queue():
    with simulated({"a": good(60)}, models("a"), concurrency=1, merge=False, waiting=10) as run:
        run.ask("m", ["first"], timeout=100)
        for k in range(5):  # ten at a time, after the ten before have timed out
            load(run, 10, 0.001, after=1 + 3 * k, timeout=1)
        run.to_the_end()
        assert codes(run.asked) == {"ok": 1, "timeout": 50}
