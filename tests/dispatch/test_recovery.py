"""Deployments recover fully after faults."""

import pytest

from tests.dispatch.members import dead, failing, good, silent, throttling
from tests.dispatch.simulator import simulated
from tests.dispatch.test_scenarios import AB, ABC, from_second, load, models, shares, slowest


@pytest.mark.parametrize(
    "ill",
    [pytest.param(dead, id="dead"), pytest.param(failing(1, 0.2), id="503")],
)
def test_outage_of_a_second_excludes_a_deployment_for_seconds_only(ill):
    """Failures of many calls in flight are one failure."""
    with simulated({"a": from_second(5, ill, 6), "b": good()}, AB) as run:
        load(run, 7_500, 0.002, timeout=30)
        run.to_the_end()
        assert not run.errors()
        assert shares(run, 14, 15)["a"] > 150  # 8 s after it is back, at the most


@pytest.mark.parametrize("every", [1.0, 0.05])
def test_deployment_gets_its_share_again_after_a_slow_phase(every):
    with simulated({"a": from_second(5, good(1), 65), "b": good()}, AB) as run:
        load(run, int(400 / every), every)
        run.to_the_end()
        late = shares(run, 200)
        assert late["a"] > 0.25 * sum(late.values())


@pytest.mark.parametrize(
    "ill",
    [
        pytest.param(failing(1), id="503"),
        pytest.param(dead, id="dead"),
        pytest.param(silent, id="silent"),
    ],
)
def test_after_an_outage_of_two_all_three_get_calls(ill):
    members = {"a": from_second(5, ill, 35), "b": from_second(5, ill, 35), "c": good()}
    with simulated(members, ABC) as run:
        load(run, 4000, 0.05)
        run.to_the_end()
        assert min(shares(run, 120).values()) > 400


def test_abandoned_call_frees_its_slot():
    """Model n has only this provider: when it answers again, requests for n are served."""
    members = {"a": from_second(5, silent, 15), "b": good()}
    with simulated(members, AB | {"n": [{"provider": "a"}]}, concurrency=2) as run:
        load(run, 1500, 0.01)
        waiting = [run.ask("n", [f"n{i}"], after=16 + i, timeout=20) for i in range(20)]
        run.to_the_end()
        assert all(one.outcome for one in waiting)
        assert slowest(waiting) < 5


def test_slow_deployments_cause_waits_and_no_errors():
    """All deployments are 60 times slower than usual: a fail-over does not help."""
    with simulated({name: from_second(5, good(3)) for name in "ab"}, AB) as run:
        load(run, 2000, 0.02)
        run.to_the_end()
        assert not run.errors()


def test_queued_attempts_of_a_resting_deployment_fail_over():
    members = {"a": throttling(0, 30), "b": good()}
    with simulated(members, AB, concurrency=2, merge=False) as run:
        load(run, 200, 0)
        run.to_the_end()
        assert not run.errors()
        assert len(run.calls("a")) <= 2


def test_caller_with_short_timeout_does_not_cancel_a_shared_load():
    with simulated({"a": good(3)}, models("a"), caching=True) as run:
        hurried = run.ask("m", ["x"], timeout=1)
        patient = run.ask("m", ["x"], after=0.5, timeout=60)
        run.to_the_end()
        assert hurried.code == "timeout"
        assert patient.outcome
        assert len(run.calls()) == 1


def test_failed_thread_start_fails_one_request_and_frees_its_slot():
    """A failed thread start is an error of one request and loses no slot."""
    with simulated({"a": good()}, models("a"), concurrency=1) as run:
        failures = [False]
        run.world.may_start = lambda: failures.pop() if failures else True
        first = run.ask("m", ["first"], timeout=5)
        later = run.ask("m", ["second"], after=1, timeout=5)
        run.world.run()
        assert first.code == "overloaded"
        assert later.outcome
