"""When a deployment is ejected, for how long, and how it recovers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.circuit_breaker import DeploymentBreaker
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    ProviderTimeout,
    Throttled,
)
from tests.dispatch.health.breakers import closed_breaker, ejected_breaker
from tests.dispatch.parts import T
from tests.dispatch.pools import ill, refused

SETTINGS = DispatchSettings()


def failures_until_ejection(error, breaker=None, now=T):
    breaker = breaker or closed_breaker()
    for number in range(1, 100):
        if breaker.record_failure(error, now, now):
            return number
    return None


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (ill, 5),
        (ProviderTimeout("did not answer in time"), 5),
        (BrokenContract("answered something else"), 5),
        (refused, 3),
        (CredentialsRefused("refused our credentials (401)"), 1),
        (Throttled("asked us to slow down (429)"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_in_a_row_eject(error, number):
    assert failures_until_ejection(error) == number


def test_success_resets_the_count_of_failures():
    breaker = closed_breaker()
    for _ in range(3):
        assert not any(breaker.record_failure(ill, T, T) for _ in range(4))
        breaker.record_success(T, T)
    assert failures_until_ejection(ill, breaker) == 5


def alternate(breaker, failing, calls, every=0.1, now=T):
    """Let ``failing`` of 10 calls fail, never five in a row; return whether one ejects."""
    order = [i * failing % 10 < failing for i in range(10)]
    for i in range(calls):
        if order[i % 10]:
            if breaker.record_failure(ill, now + i * every, now + i * every):
                return True
        else:
            breaker.record_success(now + i * every, now + i * every)
    return False


def test_failure_rate_ejects_after_enough_calls():
    assert not alternate(closed_breaker(), 7, 19)
    assert alternate(closed_breaker(), 7, 40)


def test_failure_rate_of_a_third_does_not_eject():
    assert not alternate(closed_breaker(), 3, 1000)


def test_old_calls_do_not_count():
    breaker = closed_breaker()
    for i in range(200):
        breaker.record_success(T + i * 0.01, T + i * 0.01)
    assert not alternate(breaker, 7, 40, now=T + 2)
    assert alternate(breaker, 7, 40, now=T + 60)


def test_ejected_deployment_gets_one_probe_after_its_ejection():
    breaker = ejected_breaker()
    assert breaker.state(T) == "ejected"
    assert not breaker.may_be_called(T + 0.99)
    assert breaker.may_be_called(T + 1)
    assert breaker.record_submitted(T + 1)  # the probe
    assert not breaker.may_be_called(T + 1)
    assert not breaker.may_be_called(T + 60, last_resort=True)


def test_probe_without_result_allows_another_after_its_timeout():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    patience = 6 * SETTINGS.probe_timeout
    assert not breaker.may_be_called(T + 1 + patience - 0.01)
    assert breaker.may_be_called(T + 1 + patience)


def test_successful_probe_ends_the_ejection():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    breaker.record_success(T + 1.1, T + 1)
    assert breaker.state(T + 1.1) == "ok"
    assert all(
        breaker.may_be_called(T + 1.1) and not breaker.record_submitted(T + 1.1) for _ in range(3)
    )
    assert failures_until_ejection(ill, breaker, T + 2) == 5  # with a clean slate


def test_failed_probe_ejects_again():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    assert breaker.record_failure(ill, T + 1.1, T + 1)


def test_probe_that_was_not_sent_allows_another():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    breaker.probe_ended()
    assert breaker.may_be_called(T + 1)


def lengths(jitter, number):
    """Return the lengths of successive ejections, with failing probes."""
    breaker, now = DeploymentBreaker(jitter), T
    found = []
    for _ in range(number):
        breaker.eject(ill, now)
        start = now
        while not breaker.may_be_called(now):
            now += 0.01
        found.append(now - start)
        breaker.record_submitted(now)
        breaker.record_failure(ill, now, now)
    return found


def test_ejections_double_up_to_a_minute():
    expected = [1, 2, 4, 8, 16, 32, 60, 60]
    assert lengths(lambda: 1.0, 8) == pytest.approx(expected, abs=0.02)


@given(st.integers(0, 1000))
def test_jitter_shortens_an_ejection_by_up_to_half(seed):
    breaker = DeploymentBreaker(random.Random(seed).random)
    breaker.eject(ill, T)
    assert not breaker.may_be_called(T + 0.5 - 1e-6)
    assert breaker.may_be_called(T + 1)


def test_jitter_differs():
    dice = random.Random(1)
    assert len({round(lengths(dice.random, 1)[0], 2) for _ in range(20)}) > 5


def test_refused_credentials_eject_for_about_a_minute():
    breaker = ejected_breaker(CredentialsRefused("refused our credentials (401)"))
    assert not breaker.may_be_called(T + 59)
    assert breaker.may_be_called(T + 60)


def test_without_alternative_an_ejected_deployment_is_probed_every_second():
    breaker = ejected_breaker(CredentialsRefused("refused our credentials (401)"))
    assert not breaker.may_be_called(T + 0.9, last_resort=True)
    assert breaker.may_be_called(T + 1, last_resort=True)
    assert breaker.wait_s(T) == pytest.approx(1)


def test_share_grows_after_an_ejection():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    assert breaker.share(T) == 1
    breaker.record_success(T + 2, T + 1)
    shares = [breaker.share(T + 2 + second) for second in range(6)]
    assert shares[0] == pytest.approx(0.1)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_failure_during_slow_start_ejects_for_longer():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    breaker.record_success(T + 1, T + 1)
    breaker.record_success(T + 2, T + 2)  # not for good yet
    breaker.eject(ill, T + 3)
    assert not breaker.may_be_called(T + 4.9)
    assert breaker.may_be_called(T + 5)


def test_call_sent_before_the_probe_does_not_count():
    breaker = ejected_breaker()
    assert breaker.is_straggler(T - 1)
    breaker.record_submitted(T + 1)
    assert breaker.is_straggler(T + 0.9)
    assert not breaker.is_straggler(T + 1)
    assert not closed_breaker().is_straggler(T - 100)


def test_suspect_is_used_only_without_healthy_alternative():
    breaker = closed_breaker()
    breaker.suspect(T)
    assert not breaker.may_be_called(T + 4.9)
    assert breaker.may_be_called(T + 4.9, last_resort=True)
    assert breaker.may_be_called(T + 5)


def test_refuted_400s_eject():
    breaker = closed_breaker()
    assert [breaker.record_refuted_400() for _ in range(3)] == [False, False, True]
    breaker.record_success(T, T)
    assert not breaker.record_refuted_400()


def test_refused_batch_counts_refutations_of_all_its_attempts():
    breaker = closed_breaker()
    for _ in range(2 * 7):
        assert not breaker.record_refuted_400(batch_size=7)
    assert [breaker.record_refuted_400(batch_size=7) for _ in range(7)] == [False] * 6 + [True]
