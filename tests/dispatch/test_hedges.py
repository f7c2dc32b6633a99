"""Times of hedges and fail-overs start when a call is sent, not while it is queued."""

import pytest

from tests.dispatch.arrangements import codes, load, models, waited
from tests.dispatch.members import POISON, good
from tests.dispatch.simulator import simulated

AB = models("a", "b")


@pytest.mark.parametrize("seed", range(2))
def test_overload_of_healthy_providers_triggers_no_hedge(seed):
    """One slot each; sixteen requests arrive at once every ten seconds."""
    members = dict.fromkeys("ab", good(0.5))
    options = {"hedge": True, "merge": False, "concurrency": 1, "seed": seed}
    with simulated(members, AB, **options) as run:
        for k in range(30):
            load(run, 16, 0.001, after=10 * k)
        run.to_the_end()
        assert not run.errors()
        assert len(run.calls()) == 30 * 16
        assert {one.outcome.attempts for one in run.asked} == {1}


def test_waiting_for_a_slot_does_not_cause_fail_over():
    """All wait at a and b for longer than the late time; no item is sent twice."""
    with simulated(dict.fromkeys("ab", good(0.5)), AB, merge=False, concurrency=1) as run:
        load(run, 40, 1.0)
        crowd = load(run, 60, 0.001, after=50, timeout=60)
        run.to_the_end()
        assert codes(crowd) == {"ok": 60}
        assert len(run.calls()) == 100


def test_overload_does_not_spend_the_hedge_budget():
    """After each overload a call is slow: its hedge must be within the budget of 5 %."""

    def sometimes_slow(world, call):
        return (20.0 if call.items[0] == "slow" else world.rng.uniform(0.4, 0.6)), None

    members = {"a": sometimes_slow, "b": good(0.5)}
    second_tier = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    options = {"hedge": True, "merge": False, "concurrency": 1}
    with simulated(members, second_tier, **options) as run:
        for k in range(20):
            load(run, 16, 0.001, after=20 * k)
        slow = run.ask("m", ["slow"], after=20 * 20)
        run.to_the_end()
        assert not run.errors()
        assert waited(slow) < 2
        assert len(run.calls()) == 20 * 16 + 2


def test_bad_texts_under_load_trigger_no_hedge():
    """What shared a refused batch waits for a slot again: no call of it is slow."""
    with simulated(dict.fromkeys("ab", good(0.5)), AB, hedge=True, concurrency=2) as run:
        others = load(run, 2000, 0.005, timeout=60)
        for i in range(30):
            run.ask("m", [f"{POISON} {i}"], after=i / 3, timeout=60)
        run.to_the_end()
        assert codes(others) == {"ok": 2000}
        assert {one.outcome.attempts for one in others} == {1}
