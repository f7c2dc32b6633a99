"""When a deployment is ejected, for how long, and how it recovers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.circuit_breaker import Health
from app.errors import (
    BrokenContract,
    CredentialsRefused,
    ProviderTimeout,
    Throttled,
)
from tests.dispatch.health.healths import ejected, healthy
from tests.dispatch.parts import T
from tests.dispatch.pools import ill, refused

SETTINGS = DispatchSettings()


def failures_until_ejection(error, health=None, now=T):
    health = health or healthy()
    for number in range(1, 100):
        if health.record_failure(error, now, now):
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
    health = healthy()
    for _ in range(3):
        assert not any(health.record_failure(ill, T, T) for _ in range(4))
        health.record_success(T, T)
    assert failures_until_ejection(ill, health) == 5


def alternate(health, failing, calls, every=0.1, now=T):
    """Let ``failing`` of 10 calls fail, never five in a row; return whether one ejects."""
    order = [i * failing % 10 < failing for i in range(10)]
    for i in range(calls):
        if order[i % 10]:
            if health.record_failure(ill, now + i * every, now + i * every):
                return True
        else:
            health.record_success(now + i * every, now + i * every)
    return False


def test_failure_rate_ejects_after_enough_calls():
    assert not alternate(healthy(), 7, 19)
    assert alternate(healthy(), 7, 40)


def test_failure_rate_of_a_third_does_not_eject():
    assert not alternate(healthy(), 3, 1000)


def test_old_calls_do_not_count():
    health = healthy()
    for i in range(200):
        health.record_success(T + i * 0.01, T + i * 0.01)
    assert not alternate(health, 7, 40, now=T + 2)
    assert alternate(health, 7, 40, now=T + 60)


def test_ejected_deployment_gets_one_probe_after_its_ejection():
    health = ejected()
    assert health.state(T) == "ejected"
    assert not health.may_be_called(T + 0.99)
    assert health.may_be_called(T + 1)
    assert health.record_submitted(T + 1)  # the probe
    assert not health.may_be_called(T + 1)
    assert not health.may_be_called(T + 60, last_resort=True)


def test_probe_without_result_allows_another_after_its_timeout():
    health = ejected()
    health.record_submitted(T + 1)
    patience = 6 * SETTINGS.probe_timeout
    assert not health.may_be_called(T + 1 + patience - 0.01)
    assert health.may_be_called(T + 1 + patience)


def test_successful_probe_ends_the_ejection():
    health = ejected()
    health.record_submitted(T + 1)
    health.record_success(T + 1.1, T + 1)
    assert health.state(T + 1.1) == "ok"
    assert all(
        health.may_be_called(T + 1.1) and not health.record_submitted(T + 1.1) for _ in range(3)
    )
    assert failures_until_ejection(ill, health, T + 2) == 5  # with a clean slate


def test_failed_probe_ejects_again():
    health = ejected()
    health.record_submitted(T + 1)
    assert health.record_failure(ill, T + 1.1, T + 1)


def test_probe_that_was_not_sent_allows_another():
    health = ejected()
    health.record_submitted(T + 1)
    health.probe_ended()
    assert health.may_be_called(T + 1)


def lengths(jitter, number):
    """Return the lengths of successive ejections, with failing probes."""
    health, now = Health(jitter), T
    found = []
    for _ in range(number):
        health.eject(ill, now)
        start = now
        while not health.may_be_called(now):
            now += 0.01
        found.append(now - start)
        health.record_submitted(now)
        health.record_failure(ill, now, now)
    return found


def test_ejections_double_up_to_a_minute():
    expected = [1, 2, 4, 8, 16, 32, 60, 60]
    assert lengths(lambda: 1.0, 8) == pytest.approx(expected, abs=0.02)


@given(st.integers(0, 1000))
def test_jitter_shortens_an_ejection_by_up_to_half(seed):
    health = Health(random.Random(seed).random)
    health.eject(ill, T)
    assert not health.may_be_called(T + 0.5 - 1e-6)
    assert health.may_be_called(T + 1)


def test_jitter_differs():
    dice = random.Random(1)
    assert len({round(lengths(dice.random, 1)[0], 2) for _ in range(20)}) > 5


def test_refused_credentials_eject_for_about_a_minute():
    health = ejected(CredentialsRefused("refused our credentials (401)"))
    assert not health.may_be_called(T + 59)
    assert health.may_be_called(T + 60)


def test_without_alternative_an_ejected_deployment_is_probed_every_second():
    health = ejected(CredentialsRefused("refused our credentials (401)"))
    assert not health.may_be_called(T + 0.9, last_resort=True)
    assert health.may_be_called(T + 1, last_resort=True)
    assert health.wait(T) == pytest.approx(1)


def test_share_grows_after_an_ejection():
    health = ejected()
    health.record_submitted(T + 1)
    assert health.share(T) == 1
    health.record_success(T + 2, T + 1)
    shares = [health.share(T + 2 + second) for second in range(6)]
    assert shares[0] == pytest.approx(0.1)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_failure_during_slow_start_ejects_for_longer():
    health = ejected()
    health.record_submitted(T + 1)
    health.record_success(T + 1, T + 1)
    health.record_success(T + 2, T + 2)  # not for good yet
    health.eject(ill, T + 3)
    assert not health.may_be_called(T + 4.9)
    assert health.may_be_called(T + 5)


def test_call_sent_before_the_probe_does_not_count():
    health = ejected()
    assert health.is_straggler(T - 1)
    health.record_submitted(T + 1)
    assert health.is_straggler(T + 0.9)
    assert not health.is_straggler(T + 1)
    assert not healthy().is_straggler(T - 100)


def test_suspect_is_used_only_without_healthy_alternative():
    health = healthy()
    health.suspect(T)
    assert not health.may_be_called(T + 4.9)
    assert health.may_be_called(T + 4.9, last_resort=True)
    assert health.may_be_called(T + 5)


def test_refuted_400s_eject():
    health = healthy()
    assert [health.record_refuted_400() for _ in range(3)] == [False, False, True]
    health.record_success(T, T)
    assert not health.record_refuted_400()


def test_refused_batch_counts_refutations_of_all_its_attempts():
    health = healthy()
    for _ in range(2 * 7):
        assert not health.record_refuted_400(batch_size=7)
    assert [health.record_refuted_400(batch_size=7) for _ in range(7)] == [False] * 6 + [True]
