"""Probes continue until a deployment recovers; an exception of an adapter is a failure."""

import time

import pytest

from app.domain import EmbeddingRequest
from app.errors import ProviderTimeout, UpstreamFailed
from tests.dispatch.arrangements import START, Stub, codes, dispatcher, load, models, waited
from tests.dispatch.asking import Asking
from tests.dispatch.members import between, dead, good, silent
from tests.dispatch.parts import T, deployment
from tests.dispatch.simulator import simulated

AB = models("a", "b")
SECOND_TIER = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
UNEXPECTED = [
    OverflowError("date value out of range"),
    ValueError("could not convert string to float: '1.2.3'"),
    RecursionError("maximum recursion depth exceeded"),
    KeyError("data"),
    MemoryError(),
]


def raising(error):
    """An adapter with a bug: each call raises an exception that is no ProviderError."""

    def behaviour(world, call):
        world.pause(0.01)
        raise error

    return behaviour


def calls_after(run, name, second):
    return sum(call.began > START + second for call in run.calls(name))


def test_probes_continue_after_an_exception_of_the_adapter():
    buggy = between(START + 5, START + 15, raising(OverflowError("too large")), good())
    members = {"a": between(0, START + 5, dead, buggy), "b": good()}
    with simulated(members, AB) as run:
        load(run, 400, 0.05)
        load(run, 300, 1.0, after=100)
        run.world.run()
        assert calls_after(run, "a", 100) > 50
        assert run.deployment("a").breaker.state(run.world.now) == "ok"


def test_probes_continue_after_a_failed_thread_start():
    with simulated({"a": between(0, START + 5, dead, good()), "b": good()}, AB) as run:
        run.world.may_start = lambda: not START + 5 < run.world.now < START + 12
        load(run, 400, 0.05)
        load(run, 300, 1.0, after=20)
        run.world.run()
        assert calls_after(run, "a", 100) > 50
        assert run.deployment("a").breaker.state(run.world.now) == "ok"


def test_probes_continue_after_an_abandoned_probe():
    """Probes get no answer, and their callers have short timeouts."""
    ill = between(0, START + 5, dead, between(0, START + 30, silent, good()))
    with simulated({"a": ill, "b": good()}, AB) as run:
        load(run, 600, 0.05, timeout=1)
        load(run, 300, 1.0, after=100)
        run.world.run()
        assert calls_after(run, "a", 100) > 50


def test_one_probe_at_a_time_at_a_deployment_that_never_answers():
    """Its provider's timeout is 300 s: a probe without an answer takes that long."""
    with simulated({"a": silent, "b": good()}, SECOND_TIER, timeout=300) as run:
        load(run, 4000, 0.1, timeout=30)
        run.world.run()
        assert not [one for one in run.asked if one.at > START + 15 and waited(one) > 1]
        assert calls_after(run, "a", 15) <= 2


@pytest.mark.parametrize("error", UNEXPECTED, ids=lambda error: type(error).__name__)
def test_unexpected_exception_of_an_adapter_is_failed_over(error):
    with simulated({"a": raising(error), "b": good()}, AB) as run:
        asked = load(run, 200, 0.05)
        run.world.run()
        assert codes(asked) == {"ok": 200}
        assert run.deployment("a").breaker.ejections_ever >= 1


def test_unexpected_exception_of_the_only_deployment_is_an_upstream_error():
    with simulated({"a": raising(ValueError("1.2.3"))}, models("a")) as run:
        asked = load(run, 3, 1.0)
        run.world.run()
        assert set(codes(asked)) <= {"upstream_error", "no_provider_available"}
        assert asked[0].error.status == 502


def test_traceback_of_an_adapter_is_logged_and_not_answered(caplog):
    def answer(call):
        raise ValueError("could not convert string to float: '1.2.3'")

    made = dispatcher({"a": Stub(answer)})
    with pytest.raises(UpstreamFailed) as told:
        made.embed(EmbeddingRequest("m", ["x"]), time.monotonic() + 60)
    assert "1.2.3" not in told.value.message
    logged = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert ValueError in logged


@pytest.mark.parametrize("names", ["a", "ab"])
def test_deployment_with_calls_longer_than_a_probe_recovers(names):
    """Calls of 12 s; a restart of 10 s ejects all of them."""
    members = {name: between(1030, 1040, dead, good(12.0)) for name in names}
    with simulated(members, models(*names)) as run:
        load(run, 200, 10.0, timeout=60)
        run.world.run()
        assert codes(one for one in run.asked if one.at > 1300) == {
            "ok": sum(one.at > 1300 for one in run.asked)
        }


def _two_requests_that_choose_an_ejected_deployment():
    """The second has chosen it before the first one submits its probe."""
    a, b = deployment("a"), deployment("b")
    first, second = Asking(a, b), Asking(a, b)
    a.standing.eject(ProviderTimeout("did not answer in time"), T - 2)
    for one in (first, second):
        choose = one.pool.choose
        choices = iter([a])
        one.pool.choose = lambda *args, choose=choose, choices=choices: (
            next(choices, None) or choose(*args)
        )
        one.job.advance(T)
    return a, b, first, second


def test_only_one_of_two_requests_that_chose_an_ejected_deployment_calls_it():
    a, b, first, second = _two_requests_that_choose_an_ejected_deployment()
    (probe,) = first.take()
    assert (probe.deployment, probe.is_probe) == (a, True)
    assert not second.take()
    second.job.advance(T + 0.01)
    (call,) = second.take()
    assert (call.deployment, call.is_probe) == (b, False)
    second.answer(call, T + 0.1)
    first.answer(probe, T + 0.1)
    assert first.job.error is second.job.error is None
    assert (first.job.attempts, second.job.attempts) == (1, 1)
    first.assert_nothing_left()


def test_request_that_ends_before_its_unsent_attempt_comes_back_leaves_nothing():
    a, _, first, second = _two_requests_that_choose_an_ejected_deployment()
    second.job.cancel(T)
    first.job.cancel(T)
    assert a.queue.waiting == 0
    assert a.queue.outstanding(a) == 1, "the probe, which goes on"
