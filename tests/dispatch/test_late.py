"""What is done about a late call: another deployment is called, or takes what is queued."""

import pytest

from app.dispatch.queue.slot_queue import SlotQueue
from app.errors import ProviderTimeout
from tests.dispatch.arrangements import START, codes, load, models
from tests.dispatch.asking import Asking
from tests.dispatch.members import between, dead, good, silent
from tests.dispatch.parts import T, deployment
from tests.dispatch.simulator import simulated

AB = models("a", "b")
SECOND_TIER = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}


@pytest.mark.parametrize(("number", "limits"), [(24, {}), (16, {"max_inputs": 1})], ids=str)
def test_queued_attempt_moves_to_an_idle_deployment_of_the_next_tier(number, limits):
    """Requests queue for one slot of a, which serves one a second; b is idle."""
    tiers = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1, **limits}]}
    with simulated({"a": good(1), "b": good()}, tiers, merge=False, concurrency=1) as run:
        for i in range(number):
            run.ask("m", [f"{i}", f"{i} too"], after=i * 0.01, timeout=12)
        run.to_the_end()
        assert codes(run.asked) == {"ok": number}


def test_move_to_another_deployment_costs_no_retry():
    members, options = {"a": good(8), "b": good()}, {"merge": False, "concurrency": 1}
    with simulated(members, SECOND_TIER, **options) as run:
        run.ask("m", ["first"], timeout=60)
        moved = run.ask("m", ["moved"], after=0.01, timeout=12)
        run.to_the_end()
        assert moved.outcome.attempts == 1
        assert [call.items for call in run.calls("b")] == [["moved"]]
        assert run.dispatcher._pools["m"].retries._saved > 20


def test_attempt_that_waits_after_the_refusal_of_its_batch_moves_too():
    """Else a call beside it would be charged, and both sent when a slot is free."""
    asking = Asking(deployment("a", SlotQueue(1)), deployment("b"))
    late_at = asking.job.advance(T)
    (refused,) = asking.take()
    first = refused.deployment
    first.queue.requeue([refused])  # another test of the bisection has the slot
    saved = asking.pool.retries._saved
    asking.job.advance(late_at)
    (moved,) = asking.take()
    assert moved.deployment is not first
    assert first.queue.waiting == 0
    assert asking.pool.retries._saved == saved


@pytest.mark.parametrize("timeout", [5, 60])
@pytest.mark.parametrize("seed", range(2))
def test_request_does_not_wait_to_its_deadline_while_another_deployment_is_back(timeout, seed):
    """When a falls silent, b is ejected; it is back two seconds later."""
    members = {
        "a": between(START + 4, 1e9, silent, good()),
        "b": between(START + 3, START + 4.5, dead, good()),
    }
    with simulated(members, AB, seed=seed) as run:
        load(run, 200, 0.05, timeout=timeout)
        run.to_the_end()
        assert not run.errors()


def test_request_that_is_split_for_an_ejected_deployment_sends_it_one_probe():
    """The ejected one takes single items, and may get its probe when the request is late."""
    a, b = deployment("a", SlotQueue(1)), deployment("b", max_inputs=1, tier=1)
    b.standing.eject(ProviderTimeout("did not answer in time"), T - 100)
    busy, late = Asking(a), Asking(a, b, size=5)
    busy.job.advance(T)
    busy.take()
    late_at = late.job.advance(T)
    assert a.queue.waiting == 1
    late.job.advance(late_at)
    sent = [one for one in late.take() if one.deployment is b]
    assert [one.is_probe for one in sent] == [True]
