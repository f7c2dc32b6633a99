"""A deployment whose calls take long is not taken for a silent one."""

from app.errors import ConnectionFailed, ProviderTimeout
from app.providers.base import Capabilities
from tests.dispatch.members import between, good
from tests.dispatch.parts import T, deployment
from tests.dispatch.simulator import simulated

TAKES = {"a": Capabilities(tokens=True), "b": Capabilities(tokens=False)}
BOTH = {"m": [{"provider": "a"}, {"provider": "b", "weight": 1000}]}


def test_deployment_that_usually_takes_long_is_not_ejected_while_its_p95_is_unknown():
    """Its first call is, since nothing is known of it yet."""
    behaviours = {"a": good(12), "b": good(0.05)}
    with simulated(behaviours, BOTH, takes=TAKES, concurrency=1, merge=False) as run:
        run.ask("m", [[0, 0, 0]])
        asked = [run.ask("m", [[1, 2, i]], after=30 + i * 0.5) for i in range(4)]
        for i in range(600):
            run.ask("m", [f"text {i}"], after=0.2 + i * 0.25, timeout=60)
        run.to_the_end()
    assert not run.errors()
    assert all(one.outcome for one in asked)
    assert run.deployment("a").breaker.ejections_ever <= 1


def test_answer_of_the_call_that_was_judged_silent_ends_the_ejection():
    behaviours = {"a": between(0, 1015, good(14), good(0.05)), "b": good(0.05)}
    with simulated(behaviours, BOTH, takes=TAKES, concurrency=2, merge=False) as run:
        slow = run.ask("m", [[0, 0, 0]])
        for i in range(100):
            run.ask("m", [f"text {i}"], after=0.2 + i * 0.25, timeout=60)
        states = {}
        for second in range(25):
            run.world.at(
                run.world.now + second,
                lambda second=second: states.update(
                    {second: run.deployment("a").breaker.state(run.world.now)}
                ),
            )
        run.to_the_end()
    answered = run.calls("a")[0].ended - slow.at
    assert [s for s in states if states[s] == "ejected"] == [
        second for second in range(25) if 10.5 < second < answered
    ]


def test_answer_of_another_call_in_flight_does_not_end_the_ejection():
    standing = deployment("a").standing
    stuck, other = object(), object()
    standing.call_started(stuck, 1, T)
    standing.call_started(other, 1, T + 1)
    standing.eject(ProviderTimeout("did not answer in time"), T + 20)
    standing.call_ended(other)
    assert not standing.record_success(1, T + 1, T + 21, "kind", tokens=0)
    assert standing.is_ejected
    standing.call_ended(stuck)
    assert standing.record_success(1, T, T + 22, "kind", tokens=0)
    assert not standing.is_ejected


def test_a_later_ejection_is_not_ended_by_the_call_that_was_judged_silent_before():
    standing = deployment("a").standing
    stuck = object()
    standing.call_started(stuck, 1, T)
    standing.eject(ProviderTimeout("did not answer in time"), T + 20)
    assert standing.record_submitted(T + 60)
    error = ConnectionFailed("could not be reached")
    standing.record_failure(error, 1, T + 60, T + 61, None, lambda: True, is_probe=True)
    assert standing.is_ejected
    standing.call_ended(stuck)
    assert not standing.record_success(1, T, T + 62, "kind", tokens=0)
    assert standing.is_ejected
