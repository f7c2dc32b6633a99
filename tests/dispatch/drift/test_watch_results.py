"""What follows from results: ejections, the workers of a host, references that are away."""

import json
import logging
from dataclasses import replace

import pytest

from app.dispatch.drift import results
from app.errors import ProviderUnavailable, SpaceDrifted
from tests.dispatch.drift.fake import checks, reference

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
