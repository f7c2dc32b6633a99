"""The calls of a check: small quotas, and texts that a provider refuses."""

import time

import pytest

from app.dispatch.drift.texts import PROBES, TEXTS
from tests.dispatch.drift.fake import FakeProvider, Host

# Small quotas


@pytest.fixture
def with_clock(monkeypatch, clock):
    """Have a worker's process use `clock`, which goes on while a call waits for the quota."""
    monotonic, start = time.monotonic, clock.now
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + clock.now - start)

    def wait(seconds):
        clock.now += seconds

    def replace(worker):
        worker.dispatcher.background_calls._sleep = wait
        worker.watch._checker._monotonic = time.monotonic
        return worker

    return replace


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
    tmp_path, references, clock, with_clock, quota, max_inputs, at_once
):
    one = FakeProvider(max_inputs=max_inputs)
    worker = with_clock(Host(tmp_path, {"a": one}, references, clock, every=3600, quota=quota))
    worker.tick()
    assert len(one.asked) == at_once
    assert worker.embed().provider == "a"  # no request waits for the quota
    worker.stop()


def test_check_of_a_small_quota_ends_call_by_call_and_drift_is_noticed(
    tmp_path, references, clock, with_clock
):
    one = FakeProvider(max_inputs=1, space="other")
    quota = {"requests_per_minute": 20}
    check = {"every": 3600, "on_drift": "eject"}
    worker = with_clock(Host(tmp_path, {"a": one}, references, clock, quota=quota, **check))
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
