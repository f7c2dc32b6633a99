"""A silent deployment is ejected soon, also if its callers have short timeouts."""

import pytest

from tests.dispatch.arrangements import START, codes, later_than, load, models
from tests.dispatch.members import between, good, silent
from tests.dispatch.simulator import simulated

AB = models("a", "b")
SILENCE = START + 60  # before that, a minute in which the usual latency is learned


def silent_from_then_on(p95):
    return between(SILENCE, 1e9, silent, good(p95))


@pytest.mark.parametrize("seed", range(5))
def test_silent_deployment_is_ejected_within_five_seconds(seed):
    """A call usually takes 0.05 s; one request a second with a timeout of 3 s."""
    members = {"a": silent_from_then_on(0.05), "b": good(0.05)}
    with simulated(members, AB, seed=seed) as run:
        load(run, 120, 1.0, timeout=3)
        run.world.run(until=SILENCE)
        assert run.deployment("a").breaker.state(run.world.now) == "ok"
        before = len(run.calls("a"))
        states = {}
        for step in range(200):  # for 20 s
            run.world.run(until=SILENCE + step / 10)
            states[run.world.now] = run.deployment("a").breaker.state(run.world.now)
        first = run.calls("a")[before].began
        ejected = min((w for w, state in states.items() if state == "ejected"), default=1e9)
        assert ejected <= first + 5
        run.world.run()
        assert codes(run.asked) == {"ok": 120}


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize(
    ("every", "timeout", "hedge"),
    [(0.01, 60, True), (0.1, 60, True), (0.1, 3, True), (0.1, 3, False), (0.5, 3, True)],
)
def test_silent_deployment_whose_calls_are_cut_early_is_ejected(names, every, timeout, hedge):
    """A call usually takes 0.2 s. Hedges win, or callers leave, before one has lasted for 2 s."""
    members = {name: good(0.2) for name in names} | {"a": silent_from_then_on(0.2)}
    with simulated(members, models(*names), hedge=hedge) as run:
        load(run, int(90 / every), every, timeout=timeout)
        run.world.run(until=SILENCE)
        before, ejected_at = len(run.calls("a")), None
        while run.world.now < SILENCE + 30 and ejected_at is None:
            run.world.run(until=run.world.now + 0.1)
            if run.deployment("a").breaker.ejections_ever:
                ejected_at = run.world.now
        assert ejected_at is not None
        assert ejected_at < run.calls("a")[before].began + (5 if every < 0.5 else 10)
        run.world.run()


@pytest.mark.parametrize(
    ("p95", "timeout", "every"), [(0.05, 3, 0.05), (0.5, 10, 0.1), (0.5, 10, 0.02), (0.05, 1, 0.02)]
)
def test_at_most_one_percent_of_requests_wait_for_it_a_minute_later(p95, timeout, every):
    members = {"a": silent_from_then_on(p95), "b": good(p95)}
    with simulated(members, AB) as run:
        load(run, int(240 / every), every, timeout=timeout)
        run.world.run()
        late = [one for one in run.asked if one.at > SILENCE + 60]
        assert codes(late) == {"ok": len(late)}
        assert len(later_than(p95 * 1.5, late)) <= len(late) / 100
        assert run.deployment("a").breaker.ejections_ever >= 1


def test_abandoned_calls_do_not_eject_if_all_are_slow():
    """Calls of both take over twice as long as before: both are healthy."""
    slow = between(SILENCE, 1e9, good(0.125), good(0.05))
    with simulated({"a": slow, "b": slow}, AB) as run:
        load(run, 2400, 0.05, timeout=3)
        run.to_the_end()
        assert not run.errors()
        for name in "ab":
            assert run.deployment(name).breaker.ejections_ever == 0
