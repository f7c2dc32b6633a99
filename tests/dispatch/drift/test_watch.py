"""When the watch checks which deployment, and what follows from a failed check."""

import time

import pytest

from app.dispatch.drift.checker import MAX_PARALLEL_CHECKS
from app.dispatch.drift.texts import PROBES
from app.errors import ConnectionFailed, CredentialsRefused, ProviderTimeout, ProviderUnavailable
from tests.dispatch.drift.fake import FakeProvider, Host, checks, deployment_of


def test_nothing_is_embedded_without_a_reference(host, providers, references):
    references.kept.clear()
    worker = host()
    worker.tick()
    assert checks(providers) == [0, 0]
    assert worker.agreements() == {"a": None, "b": None}


def test_check_is_repeated_when_it_is_due_and_not_before(host, providers, clock):
    worker = host(every=100)
    worker.tick()
    assert checks(providers) == [1, 1]
    clock.now += 99
    worker.tick()
    assert checks(providers) == [1, 1]
    clock.now += 1
    worker.tick()
    assert checks(providers) == [2, 2]
    assert worker.watch.counts == {("m", "a", "agreed"): 2, ("m", "b", "agreed"): 2}


def test_clock_that_was_set_back_does_not_stop_checks(host, providers, clock):
    worker = host(every=100)
    worker.tick()
    clock.now -= 10_000
    worker.tick()
    assert checks(providers) == [2, 2]


def test_deployment_that_failed_is_tried_again_sooner(host, providers, clock, caplog):
    providers["a"].fail = ProviderUnavailable("failed with 503")
    worker = host(every=1000)
    for _ in range(4):  # at 0, 60 and 180 s: the pauses double
        worker.tick()
        clock.now += 60
    assert checks(providers) == [3, 1]
    assert worker.agreements() == {"a": None, "b": 1.0}
    assert caplog.text.count("cannot be compared") == 1  # once an episode
    assert worker.watch.counts["m", "a", "failed"] == 3


def test_deployment_that_is_ejected_for_failures_is_not_asked(host, providers):
    worker = host()
    _, deployment = next(worker.dispatcher.deployments())
    for _ in range(5):
        deployment.breaker.record_failure(ProviderUnavailable("no"), time.monotonic(), 0)
    deployment.breaker.eject(ProviderUnavailable("no"), time.monotonic())
    worker.tick()
    assert checks(providers) == [0, 1]
    assert worker.watch.counts["m", "a", "skipped"] == 1


@pytest.mark.parametrize(
    "error",
    [
        CredentialsRefused("refused our credentials (401)"),
        ConnectionFailed("could not be reached"),
        ProviderUnavailable("failed with 503"),
        ProviderTimeout("did not answer in time"),
    ],
)
def test_failed_checks_eject_no_deployment_and_do_not_end_the_checks(host, providers, clock, error):
    providers["a"].space = "other"
    worker = host(every=100, on_drift="eject")
    worker.tick()
    providers["a"].fail = error
    for _ in range(10):
        clock.now += 100
        worker.tick()
    deployment = deployment_of(worker, "a")
    assert deployment.breaker.state(time.monotonic()) == "ok"
    assert deployment.standing.latency.recent_average_s(time.monotonic()) is None
    providers["a"].fail, providers["a"].space = None, ""
    clock.now += 100
    worker.tick()
    assert worker.states()["a"] == "ok"
    assert worker.agreements()["a"] == 1.0


def test_deployment_whose_ejection_has_passed_is_checked(host, providers):
    worker = host()
    breaker = deployment_of(worker, "a").breaker
    breaker.eject(ProviderUnavailable("no"), time.monotonic() - 10_000)
    assert breaker.is_ejected
    worker.tick()
    assert checks(providers) == [1, 1]
    assert breaker.is_ejected  # until a request has been its probe


def test_another_deployment_of_a_target_is_asked_where_the_first_is_ejected(host, providers):
    worker = host(models={"m": ["a"], "alias": ["a"]})
    breaker = deployment_of(worker, "a").breaker
    breaker.eject(ProviderUnavailable("no"), time.monotonic())
    worker.tick()
    assert checks(providers) == [1, 0]
    assert worker.agreements()["a"] == 1.0


def test_models_of_one_space_share_a_check(host, providers):
    worker = host(models={"m": ["a", "b"], "alias": ["b", "a"]})
    worker.tick()
    assert checks(providers) == [1, 1]
    assert all(d.agreement is not None for _, d in worker.dispatcher.deployments())


def test_limit_of_inputs_is_kept(tmp_path, references, clock):
    one = FakeProvider(max_inputs=3)
    worker = Host(tmp_path, {"a": one}, references, clock)
    worker.tick()
    worker.stop()
    assert worker.agreements() == {"a": 1.0}
    assert max(map(len, one.asked)) == 3


def test_pause_after_failures_is_at_most_every(host, providers, clock):
    providers["a"].fail = ProviderUnavailable("failed with 503")
    worker = host(every=100)
    for _ in range(10):
        worker.tick()
        clock.now += 100
    assert checks(providers) == [10, 10]


def test_slow_deployment_delays_no_result_of_another(host, providers, clock):
    providers["b"].may_answer.clear()
    worker = host(every=100, on_drift="eject")
    worker.tick_until(lambda: worker.agreements()["a"] == 1.0 and checks(providers) == [1, 1])
    assert worker.agreements()["b"] is None
    providers["a"].space = "other"
    clock.now += 100  # "a" is due again, while "b" is still under way
    worker.tick_until(lambda: worker.states() == {"a": "drifted", "b": "ok"})
    assert checks(providers) == [2, 1]
    assert worker.agreements()["b"] is None
    providers["b"].may_answer.set()
    worker.tick()
    assert worker.agreements()["b"] == 1.0
    assert checks(providers) == [2, 1]


def test_stopped_worker_does_not_wait_for_a_slow_deployment(host, providers):
    providers["b"].may_answer.clear()
    worker = host()
    worker.watch._task._is_stopping.set()
    worker.watch.tick()
    worker.watch.tick()
    assert checks(providers)[1] == 0
    providers["b"].may_answer.set()


def test_more_deployments_than_are_checked_at_once_are_all_checked(tmp_path, references, clock):
    many = {f"p{i}": FakeProvider() for i in range(2 * MAX_PARALLEL_CHECKS + 1)}
    slow = many["p0"]
    slow.may_answer.clear()
    worker = Host(tmp_path, many, references, clock)
    others = [name for name in many if name != "p0"]
    worker.tick_until(lambda: all(worker.agreements()[name] == 1.0 for name in others))
    assert worker.agreements()["p0"] is None
    slow.may_answer.set()
    worker.tick()
    assert worker.agreements()["p0"] == 1.0
    worker.stop()


def test_check_that_failed_in_the_middle_goes_on_where_it_was(tmp_path, references, clock):
    one = FakeProvider(max_inputs=1)
    embed = one.embed

    def failing(call, deadline):
        if len(one.asked) >= 5:
            one.asked.append(list(call.items))
            raise ProviderUnavailable("failed with 503")
        return embed(call, deadline)

    one.embed = failing
    worker = Host(tmp_path, {"a": one}, references, clock)
    worker.tick()
    one.embed = embed
    clock.now += 60
    worker.tick()
    worker.stop()
    assert worker.agreements() == {"a": 1.0}
    assert len(one.asked) == len(PROBES) + 1


# Agreements that are old


def test_age_is_that_of_the_last_vectors_that_were_compared(host, providers, clock):
    worker = host(every=100, models={"m": ["a", "b"], "alias": ["a"]})
    assert set(worker.watch.ages().values()) == {0}
    worker.tick()
    providers["a"].fail = ProviderUnavailable("failed with 503")
    for _ in range(5):
        clock.now += 100
        worker.tick()
    ages = worker.watch.ages()
    assert ages == {("m", "a"): 500, ("alias", "a"): 500, ("m", "b"): 0}


def test_age_of_a_deployment_that_never_answered_is_that_of_its_first_failure(
    host, providers, clock, references
):
    providers["a"].fail = ProviderUnavailable("failed with 503")
    leader, follower = host(every=100), host(every=100)
    for _ in range(4):
        leader.tick()
        clock.now += 100
    follower.tick()
    assert leader.watch.ages()["m", "a"] == follower.watch.ages()["m", "a"] == 400
    references.kept.clear()
    references.number += 1
    leader.tick()
    follower.tick()
    assert set(leader.watch.ages().values()) == set(follower.watch.ages().values()) == {0}
