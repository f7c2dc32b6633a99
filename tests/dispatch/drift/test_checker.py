"""A check has one deadline for all its calls, and goes on where it was."""

import threading
from types import SimpleNamespace

import pytest

from app.config import CheckSettings
from app.dispatch.drift.checker import MAX_CHECK_S, SLOT_WAIT_S, Checker
from app.dispatch.drift.targets import Target
from app.dispatch.drift.texts import PROBES
from app.domain import Vectors
from tests.dispatch.drift.fake import reference, rows
from tests.support.clock import Clock


class SlowCalls:
    """Background calls that take ``call_s`` seconds of a clock each, and bounds they were given."""

    def __init__(self, clock, call_s):
        self.clock, self.call_s, self.given = clock, call_s, []

    def used_share(self, deployment, calls):
        return 0.0

    def embed(self, deployment, texts, slot_wait_s, is_stopping, end):
        self.given.append((slot_wait_s, end - self.clock.now))
        self.clock.now += self.call_s
        return Vectors(rows("", texts), [1] * len(texts))


@pytest.fixture
def clock():
    return Clock(1_000_000)


def target():
    deployment = SimpleNamespace(
        label="a/x",
        provider_name="a",
        max_inputs=1,
        max_tokens=None,
        standing=SimpleNamespace(wait_s=lambda now, ignores_drift: 0.0),
    )
    return Target("key", "s", [("m", deployment)])


def run(checker, before=None):
    """One check; its result."""
    checker.start(target(), reference(), before)
    ((_, result),) = checker.wait_for_results(60)
    return result


def test_calls_of_a_check_share_one_deadline_and_the_next_check_makes_the_missing_calls(clock):
    calls = SlowCalls(clock, MAX_CHECK_S / 12)
    checker = Checker(calls, CheckSettings(), clock=clock, monotonic=clock)
    first = run(checker)
    assert first.error == "did not embed the probe texts in time"
    assert len(calls.given) == 12
    for number, (slot_wait_s, left_s) in enumerate(calls.given):
        assert left_s == pytest.approx(MAX_CHECK_S - number * calls.call_s)
        assert slot_wait_s == pytest.approx(max(0, SLOT_WAIT_S - number * calls.call_s))
    clock.now += 60
    second = run(checker, first)
    assert (second.error, second.lowest) == ("", 1.0)
    assert len(calls.given) == len(PROBES)
    assert checker.counts == {("m", "a", "failed"): 1, ("m", "a", "agreed"): 1}


def test_rows_that_are_too_old_are_asked_for_again(clock):
    calls = SlowCalls(clock, MAX_CHECK_S / 12)
    checker = Checker(calls, CheckSettings(every=60), clock=clock, monotonic=clock)
    first = run(checker)
    calls.call_s = 0
    clock.now += 5 * 3600
    run(checker, first)
    assert len(calls.given) == 12 + len(PROBES)


def test_bug_in_a_check_is_a_failure_and_its_target_is_checked_again(clock, caplog):
    calls = SlowCalls(clock, 0)
    calls.embed = None
    checker = Checker(calls, CheckSettings(every=60), clock=clock, monotonic=clock)
    result = run(checker)
    assert result.error == "failed by a bug"
    assert not checker.is_running
    assert checker.may_start(target())


def test_check_whose_thread_cannot_be_started_is_not_taken_for_running(clock, monkeypatch):
    def no_thread(thread):
        raise RuntimeError("can't start new thread")

    checker = Checker(SlowCalls(clock, 0), CheckSettings(), clock=clock, monotonic=clock)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            run(checker)
    assert not checker.is_running
    assert run(checker).lowest == 1.0
