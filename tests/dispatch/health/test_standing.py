"""The measured state of a deployment: failures, silence, and calls that do not count."""

import random
from dataclasses import replace

import pytest

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.standing import Standing
from app.errors import ProviderTimeout, ProviderUnavailable
from tests.dispatch.parts import T

SETTINGS = DispatchSettings()
TIMEOUT = ProviderTimeout("did not answer in time")
ILL = ProviderUnavailable("failed with 503")


def standing(usual=None, timeout=60.0, **settings):
    """Return the standing of a deployment with this usual latency."""
    made = Standing(timeout, random.Random(1), replace(SETTINGS, **settings))
    for _ in range(20 if usual else 0):
        made.record_success(1, T - usual, T, "kind", tokens=0)
    return made


def fails(made, error, seconds, others=None, may_eject=True, times=5, now=T + 100):
    """Let calls of this duration fail; return whether the deployment is ejected."""
    results = [
        made.record_failure(error, 1, now - seconds, now, others, lambda: may_eject, is_probe=True)
        for _ in range(times)
    ]
    return any(results)


def test_failures_in_a_row_eject_once():
    made = standing()
    results = [
        made.record_failure(ILL, 1, T, T + 0.1, None, lambda: True, is_probe=True)
        for _ in range(10)
    ]
    assert results == [False] * 4 + [True] + [False] * 5
    assert made.breaker.ejections_ever == 1


def test_deployment_that_may_not_be_ejected_is_suspect():
    made = standing()
    assert not fails(made, ILL, 0.1, may_eject=False)
    assert not made.breaker.is_ejected
    assert not made.may_be_called(T + 100)
    assert made.may_be_called(T + 100, last_resort=True)


@pytest.mark.parametrize(
    ("usual", "others", "evidence"),
    [
        (None, None, 1.0),  # nothing is known: the floor of silence
        (0.01, None, 2.0),  # the floor of lateness
        (0.5, None, 10.0),  # 20 times the p95
        (None, T + 1000, 1.0),
        (0.5, T + 1000, 2.0),  # another has answered meanwhile: 4 times the p95
        (0.01, T + 1000, 0.04),
    ],
)
def test_early_cancelled_call_does_not_count(usual, others, evidence):
    assert not fails(standing(usual), TIMEOUT, evidence * 0.9, others)
    made = standing(usual)
    fails(made, TIMEOUT, evidence * 1.1, others)
    assert made.breaker.failures_in_a_row or made.breaker.is_ejected


def test_call_cut_at_the_providers_timeout_counts():
    assert fails(standing(usual=5.0, timeout=3.0), TIMEOUT, 3.0)


def test_early_cancelled_probe_allows_another():
    made = standing()
    fails(made, ILL, 0.1)
    now = T + 200
    assert made.record_submitted(now)
    assert not made.record_submitted(now)  # one at a time
    made.record_failure(TIMEOUT, 1, now, now + 0.1, None, lambda: True, is_probe=True)
    assert made.breaker.is_ejected
    assert made.record_submitted(now + 0.1)


def test_expired_probe_is_followed_by_one_other():
    made = standing(usual=0.1)
    fails(made, ILL, 0.1)
    assert made.record_submitted(T + 200)
    assert not made.may_be_called(T + 259)
    assert made.may_be_called(T + 261)
    assert made.record_submitted(T + 261)
    assert not made.may_be_called(T + 262)
    assert not made.record_submitted(T + 262)


@pytest.mark.parametrize(("usual", "expires_after"), [(None, 310), (12.0, 60), (50.0, 210)])
def test_probe_does_not_expire_before_its_call_is_cut(usual, expires_after):
    made = standing(usual, timeout=300.0)
    fails(made, ILL, 0.1)
    assert made.record_submitted(T + 200)
    started = T + 250  # it waited for a slot until then
    made.start_probe(1, started)
    assert not made.may_be_called(started + expires_after - 1)
    assert made.may_be_called(started + expires_after + 1)


def test_a_long_silence_while_others_answer_ejects_at_once():
    made = standing(usual=0.1)
    assert made.record_failure(TIMEOUT, 1, T + 98.9, T + 100, T + 99, lambda: True, is_probe=True)
    other = standing(usual=0.1)
    assert not other.record_failure(
        TIMEOUT, 1, T + 98.9, T + 100, T + 98, lambda: True, is_probe=True
    )


def test_silence_is_shown_by_later_calls_with_answers():
    made, call = standing(usual=0.2), object()
    assert not made.is_silent(T + 50, T + 49)  # nothing is in flight
    made.call_started(call, 1, T)
    assert not made.is_silent(T + 1.9, T + 1)  # 10 times the p95
    assert not made.is_silent(T + 2.1, T - 1)
    assert made.is_silent(T + 2.1, T + 1)
    made.call_ended(call)
    assert not made.is_silent(T + 2, T + 1)


def test_age_of_a_call_in_flight_counts_as_latency():
    made, call = standing(usual=0.1), object()
    assert made.seconds_a_call(T, unknown_s=7) == pytest.approx(0.1)
    made.call_started(call, 1, T)
    made.call_started(object(), 1, T + 3)
    assert made.in_flight == 2
    assert made.seconds_a_call(T + 4, unknown_s=7) == pytest.approx(4)
    made.call_ended(call)
    made.call_ended(call)  # twice changes nothing
    assert made.in_flight == 1
    assert made.seconds_a_call(T + 4, unknown_s=7) == pytest.approx(1)


def test_failures_raise_the_expected_latency():
    made = standing(usual=0.1)
    for _ in range(20):
        made.record_failure(ILL, 1, T, T, None, lambda: False, is_probe=True)
    assert made.seconds_a_call(T, unknown_s=7) == pytest.approx(0.2)


def test_latency_is_forgotten_without_recent_answers():
    made = standing(usual=0.1)
    assert made.latency.recent_average_s(T + 9) == pytest.approx(0.1)
    assert made.latency.recent_average_s(T + 10) is None
    assert made.seconds_a_call(T + 10, unknown_s=7) == 7


def test_trusted_400_counts_as_healthy():
    made = standing()
    fails(made, ILL, 0.1)
    assert made.record_submitted(T + 200)
    made.record_refusal(T + 200, T + 200.1, "kind", trusted=True, is_probe=True, is_test=False)
    assert not made.breaker.is_ejected


def test_untrusted_400_of_a_probe_does_not_count():
    made = standing()
    fails(made, ILL, 0.1)
    assert made.record_submitted(T + 200)
    made.record_refusal(T + 200, T + 200.1, "kind", trusted=False, is_probe=False, is_test=False)
    assert made.breaker.is_probing, "the call was beside the probe"
    made.record_refusal(T + 200, T + 200.1, "kind", trusted=False, is_probe=True, is_test=False)
    assert made.breaker.is_ejected
    assert made.record_submitted(T + 202)


def test_call_started_before_ejection_changes_no_health():
    made = standing()
    fails(made, ILL, 0.1, now=T + 1)
    assert made.record_submitted(T + 100)
    for call_started_at in (T, T + 99):
        assert not made.record_failure(
            ILL, 1, call_started_at, T + 101, None, lambda: True, is_probe=True
        )
        made.record_refusal(
            call_started_at, T + 101, "kind", trusted=True, is_probe=False, is_test=False
        )
        assert not made.record_success(1, call_started_at, T + 101, "kind", tokens=0)
    assert made.breaker.is_ejected
    assert made.breaker.is_probing
    assert made.record_success(1, T + 100, T + 101, "kind", tokens=0)  # the probe: it is back


@pytest.mark.parametrize(
    ("usual", "timeout", "expected"), [(0.1, 60.0, 10.0), (0.1, 3.0, 3.0), (12.0, 60.0, 48.0)]
)
def test_timeout_of_a_probe_depends_on_latency_and_is_at_least_ten_seconds(
    usual, timeout, expected
):
    made = standing(usual, timeout=timeout)
    assert made.start_probe(1, T) == pytest.approx(expected)


def test_timeout_of_a_probe_without_known_latency_is_that_of_a_call():
    assert standing(timeout=60.0).start_probe(1, T) == 60.0


def test_timeout_doubles_after_each_cancelled_probe():
    made = standing(0.1, timeout=60.0)
    fails(made, ILL, 0.1)
    for now, allowed in zip(range(200, 1000, 200), (10.0, 20.0, 40.0, 60.0), strict=True):
        assert made.start_probe(1, T) == allowed
        assert made.record_submitted(T + now)
        made.record_failure(
            TIMEOUT, 1, T + now, T + now + allowed, None, lambda: True, is_probe=True
        )
    made.record_success(1, T + 1000, T + 1001, "kind", tokens=0)
    assert made.start_probe(1, T) == pytest.approx(10.0)
