"""The watch checks when it is due, in one worker, and has every worker follow."""

import json
import logging
import time
from dataclasses import replace

import pytest

from app.drift import results
from app.drift.checker import MAX_PARALLEL_CHECKS
from app.drift.texts import PROBES, TEXTS
from app.errors import (
    ConnectionFailed,
    CredentialsRefused,
    ProviderTimeout,
    ProviderUnavailable,
    SpaceDrifted,
)
from tests.drift.fake import Clock, FakeProvider, FakeReferences, Host, reference


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def providers():
    return {"a": FakeProvider(), "b": FakeProvider()}


@pytest.fixture
def references():
    return FakeReferences(reference())


@pytest.fixture
def host(tmp_path, providers, references, clock):
    """Makes workers of one host."""
    made = []

    def make(**options):
        made.append(Host(tmp_path, providers, references, clock, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


def checks(providers):
    return [provider.checks for provider in providers.values()]


def deployment_of(worker, provider):
    """The first deployment at a provider."""
    return next(d for _, d in worker.dispatcher.deployments() if d.name == provider)


# When


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
        deployment.health.failed(ProviderUnavailable("no"), time.monotonic(), 0)
    deployment.health.eject(ProviderUnavailable("no"), time.monotonic())
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
    assert deployment.health.state(time.monotonic()) == "ok"
    assert deployment.standing.latency.known(time.monotonic()) is None
    providers["a"].fail, providers["a"].space = None, ""
    clock.now += 100
    worker.tick()
    assert worker.states()["a"] == "ok"
    assert worker.agreements()["a"] == 1.0


def test_deployment_whose_ejection_has_passed_is_checked(host, providers):
    worker = host()
    health = deployment_of(worker, "a").health
    health.eject(ProviderUnavailable("no"), time.monotonic() - 10_000)
    assert health.is_ejected
    worker.tick()
    assert checks(providers) == [1, 1]
    assert health.is_ejected  # until a request has been its probe


def test_another_deployment_of_a_target_is_asked_where_the_first_is_ejected(host, providers):
    worker = host(models={"m": ["a"], "alias": ["a"]})
    health = deployment_of(worker, "a").health
    health.eject(ProviderUnavailable("no"), time.monotonic())
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
    worker.tick_until(lambda: worker.agreements()["a"] == 1.0)
    assert worker.watch.is_checking
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


# Small quotas


@pytest.mark.parametrize(
    ("quota", "max_inputs", "at_once"),
    [
        ({"requests_per_minute": 60}, 1, len(PROBES)),  # a third of it
        ({"requests_per_minute": 20}, 1, 1),
        ({"requests_per_minute": 2}, None, 1),
        ({"tokens_per_minute": 3000}, None, 1),
        ({"tokens_per_minute": 3000}, 1, len(PROBES)),
        ({"tokens_per_minute": 400}, None, 1),
    ],
)
def test_check_leaves_half_of_a_quota_or_makes_one_call(
    tmp_path, references, clock, quota, max_inputs, at_once
):
    one = FakeProvider(max_inputs=max_inputs)
    worker = Host(tmp_path, {"a": one}, references, clock, every=3600, quota=quota)
    worker.tick()
    assert len(one.asked) == at_once
    assert worker.embed().provider == "a"  # no request waits for the quota
    worker.stop()


def test_check_of_a_small_quota_ends_call_by_call_and_drift_is_noticed(
    tmp_path, references, clock, monkeypatch
):
    one = FakeProvider(max_inputs=1, space="other")
    quota = {"requests_per_minute": 20}
    worker = Host(
        tmp_path, {"a": one}, references, clock, every=3600, on_drift="eject", quota=quota
    )
    monotonic, start = time.monotonic, clock.now
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + clock.now - start)
    worker.watch._checker._monotonic = time.monotonic
    for _ in range(60):  # a tenth of 20 calls a minute: one in 30 s
        worker.tick()
        clock.now += 15
    worker.stop()
    assert [len(items) for items in one.asked] == [1] * len(PROBES)
    assert worker.states() == {"a": "drifted"}
    assert worker.watch.counts == {("m", "a", "drifted"): 1}


def test_check_makes_no_call_while_requests_use_the_quota(tmp_path, references, clock):
    one = FakeProvider(max_inputs=1)
    quota = {"requests_per_minute": 4}
    worker = Host(tmp_path, {"a": one}, references, clock, quota=quota)
    for i in range(3):
        worker.embed(f"text {i}")
    worker.tick()
    assert len(one.asked) == 3
    assert worker.watch.counts == {("m", "a", "skipped"): 1}
    worker.stop()


# Texts that are refused


@pytest.mark.parametrize("max_inputs", [None, 1, 7])
def test_refused_text_is_named_and_the_others_are_compared(
    tmp_path, references, clock, caplog, max_inputs
):
    one = FakeProvider(max_inputs=max_inputs)
    one.refused = [TEXTS["long"]]
    worker = Host(tmp_path, {"a": one}, references, clock, every=3600)
    worker.tick()
    assert worker.agreements() == {"a": 1.0}
    asked = len(one.asked)
    assert asked <= len(PROBES)
    for _ in range(59):
        clock.now += 60
        worker.tick()
    assert len(one.asked) == asked  # not before "every"
    clock.now += 60
    one.space = "other"
    worker.tick()
    worker.stop()
    assert worker.agreements()["a"] < 0.9
    refusals = [t for t in caplog.messages if "refuses" in t]
    assert refusals == [
        "deployment a/x is compared with the reference of space s by the other texts only: it "
        "refuses the probe text 'long': the text is too long"
    ]
    assert worker.watch.counts == {("m", "a", "agreed"): 1, ("m", "a", "drifted"): 1}


def test_provider_that_refuses_every_text_is_asked_a_few_times_and_then_after_every(
    tmp_path, references, clock, caplog
):
    one = FakeProvider()
    one.refused = PROBES
    worker = Host(tmp_path, {"a": one}, references, clock, every=3600)
    for _ in range(60):
        worker.tick()
        clock.now += 60
    worker.stop()
    assert worker.agreements() == {"a": None}
    assert len(one.asked) <= 15
    assert "it refuses the probe texts 'word', 'question'" in caplog.text
    assert worker.watch.counts == {("m", "a", "failed"): 1}


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


# What follows


@pytest.mark.parametrize("on_drift", ["warn", "eject"])
def test_drift_is_noticed_at_the_next_check(host, providers, clock, caplog, on_drift):
    worker = host(every=100, on_drift=on_drift)
    worker.tick()
    providers["a"].space = "other"
    clock.now += 100
    worker.tick()
    assert worker.agreements()["a"] < 0.9
    assert worker.agreements()["b"] == 1.0
    assert worker.states() == {"a": "ok" if on_drift == "warn" else "drifted", "b": "ok"}
    (record,) = caplog.records
    assert record.levelno == (logging.WARNING if on_drift == "warn" else logging.ERROR)
    assert "a/x has drifted" in record.getMessage()
    if on_drift == "warn":  # it serves as before
        providers["b"].fail = ProviderUnavailable("failed with 503")
        assert worker.embed().provider == "a"
    else:
        assert {worker.embed(f"text {i}").provider for i in range(20)} == {"b"}


def test_drift_is_logged_once_an_episode(host, providers, clock, caplog):
    worker = host(every=100)
    for space in ("other", "other", "", "other"):
        providers["a"].space = space
        worker.tick()
        clock.now += 100
    texts = [record.getMessage() for record in caplog.records]
    assert ["has drifted" in t for t in texts] == [True, False, True]
    assert "agrees with the reference of space s again" in texts[1]


def test_small_noise_is_no_drift(host, providers):
    providers["a"].noise = 0.01
    worker = host(on_drift="eject")
    worker.tick()
    assert 0.999 < worker.agreements()["a"] <= 1
    assert worker.states()["a"] == "ok"


def test_deployment_is_called_again_once_it_agrees(host, providers, clock):
    providers["a"].space = "other"
    worker = host(every=100, on_drift="eject")
    worker.tick()
    assert worker.states()["a"] == "drifted"
    providers["a"].space = ""
    clock.now += 100
    worker.tick()
    assert worker.states()["a"] == "ok"


def test_failed_check_neither_ejects_nor_readmits(host, providers, clock):
    providers["a"].space = "other"
    worker = host(every=100, on_drift="eject")
    worker.tick()
    for provider in providers.values():
        provider.fail = ProviderUnavailable("failed with 503")
    clock.now += 100
    worker.tick()
    assert worker.states() == {"a": "drifted", "b": "ok"}


def test_new_reference_readmits_within_seconds(host, providers, references, clock):
    for provider in providers.values():
        provider.space = "new"
    worker = host(every=3600, on_drift="eject")
    worker.tick()
    with pytest.raises(SpaceDrifted):
        worker.embed()
    references.save([reference(salt="new", recorded_at=2)])
    clock.now += 10
    worker.tick()
    assert worker.agreements() == {"a": 1.0, "b": 1.0}
    assert worker.embed().provider


def test_reference_that_was_removed_readmits(host, providers, references, clock):
    providers["a"].space = "other"
    worker = host(on_drift="eject")
    worker.tick()
    references.kept.clear()
    references.number += 1
    clock.now += 10
    worker.tick()
    assert worker.states()["a"] == "ok"
    assert worker.agreements()["a"] is None


# Workers of one host


def test_one_worker_checks_and_the_others_follow(host, providers):
    providers["a"].space = "other"
    workers = [host(on_drift="eject") for _ in range(3)]
    for worker in workers:
        worker.tick()
    assert checks(providers) == [1, 1]
    assert [worker.states()["a"] for worker in workers] == ["drifted"] * 3


def test_new_worker_knows_the_results_before_it_serves(host, providers):
    providers["a"].space = "other"
    host(on_drift="eject").tick()
    new = host(on_drift="eject")
    new.watch._task.start = lambda: None
    new.watch.start()
    assert new.states()["a"] == "drifted"
    assert checks(providers) == [1, 1]


def test_another_worker_takes_over_and_knows_the_results(host, providers, clock, caplog):
    providers["a"].space = "other"
    first, second = host(every=100, on_drift="eject"), host(every=100, on_drift="eject")
    first.tick()
    second.tick()
    first.stop()
    clock.now += 50
    second.tick()
    assert checks(providers) == [1, 1]
    clock.now += 50
    second.tick()
    assert checks(providers) == [2, 2]
    assert second.states()["a"] == "drifted"
    assert caplog.text.count("has drifted") == 1


def test_results_that_cannot_be_written_do_not_repeat_checks(host, providers, clock, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_atomically", full)
    providers["a"].space = "other"
    worker = host(on_drift="eject")
    for _ in range(3):
        worker.tick()
    assert checks(providers) == [1, 1]
    assert worker.states()["a"] == "drifted"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', '{"x": {"reference": 1}}'])
def test_damaged_results_are_no_results(host, providers, tmp_path, text):
    (tmp_path / "space-check.json").write_text(text)
    worker = host()
    worker.tick()
    assert worker.agreements() == {"a": 1.0, "b": 1.0}
    assert json.loads((tmp_path / "space-check.json").read_text())


# References that are away


def test_references_that_are_away_at_the_start_change_nothing(host, providers, references, caplog):
    references.is_away = True
    worker = host()
    for _ in range(2):
        worker.tick()
    assert checks(providers) == [0, 0]
    assert worker.embed().provider
    assert caplog.text.count("the reference vectors: it is away") == 1


def test_references_that_go_away_are_remembered(host, providers, references, clock):
    worker = host(every=100, on_drift="eject")
    worker.tick()
    references.is_away = True
    providers["a"].space = "other"
    clock.now += 100
    worker.tick()
    assert worker.states()["a"] == "drifted"


def test_ejections_stay_while_a_new_leader_cannot_read_the_references(host, providers, references):
    providers["a"].space = "other"
    first, second = host(on_drift="eject"), host(on_drift="eject")
    first.tick()
    first.stop()
    references.is_away = True
    second.tick()
    assert second.states()["a"] == "drifted"


def test_reference_of_other_texts_is_not_compared_with(host, providers, references, caplog):
    references.kept["s"] = replace(reference(), texts_id="of another version")
    worker = host()
    worker.tick()
    worker.tick()
    assert checks(providers) == [0, 0]
    assert caplog.text.count("check --record") == 1
