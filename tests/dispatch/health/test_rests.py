"""How long a deployment rests that its provider has throttled."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.circuit_breaker import DeploymentBreaker
from app.errors import (
    CredentialsRefused,
    ProviderUnavailable,
    Throttled,
)
from tests.dispatch.health.breakers import closed_breaker, ejected_breaker
from tests.dispatch.parts import T
from tests.dispatch.pools import ill, refused

SETTINGS = DispatchSettings()


@pytest.mark.parametrize("seconds", [0.25, 5, 30])
@pytest.mark.parametrize("kind", [Throttled, ProviderUnavailable])
def test_rest_is_as_long_as_retry_after(kind, seconds):
    breaker = closed_breaker()
    breaker.record_failure(kind("leave me alone", retry_after=seconds), T, T)
    assert breaker.state(T) == "resting"
    assert breaker.is_throttled(T) == (kind is Throttled)
    assert not breaker.may_be_called(T + seconds - 0.01)
    assert breaker.wait_s(T) == pytest.approx(seconds)
    assert breaker.may_be_called(T + seconds)
    assert breaker.state(T + seconds) == "ok"


def test_rest_is_at_most_an_hour():
    breaker = closed_breaker()
    breaker.record_failure(Throttled("come back tomorrow", retry_after=86_400), T, T)
    assert not breaker.may_be_called(T + 3599)
    assert breaker.may_be_called(T + 3600)


@pytest.mark.parametrize("is_only", [False, True])
def test_resting_deployment_without_alternative_is_probed(is_only):
    breaker = closed_breaker()
    breaker.record_failure(Throttled("come back in an hour", retry_after=3600), T, T)

    def may_be_called(now):
        return breaker.may_be_called(now, last_resort=not is_only, is_only=is_only)

    assert not may_be_called(T + 9.9)
    assert may_be_called(T + 10)
    breaker.record_submitted(T + 10)
    assert not may_be_called(T + 19.9)
    assert may_be_called(T + 20)
    breaker.record_success(T + 20.1, T + 20)
    assert breaker.state(T + 20.1) == "ok"


def test_only_deployment_is_excluded_only_by_retry_after():
    for breaker in (ejected_breaker(), closed_breaker()):
        breaker.record_failure(Throttled("slow down"), T, T)
        assert breaker.may_be_called(T, is_only=True)
        breaker.record_failure(Throttled("slow down", retry_after=5), T, T)
        assert not breaker.may_be_called(T + 4.9, is_only=True)
        assert breaker.may_be_called(T + 5, is_only=True)


def test_calls_in_flight_together_are_one_episode_of_rest():
    breaker = closed_breaker()
    for number in range(20):
        breaker.record_failure(Throttled("slow down"), T + number / 100, T - 0.05)
    assert breaker.wait_s(T) == pytest.approx(0.5)


def test_calls_during_a_rest_belong_to_its_episode():
    """A model's only deployment is called while it rests, if its provider has not asked for it."""
    breaker = DeploymentBreaker(lambda: 1.0)
    for number in range(40):
        now = T + number / 100
        breaker.record_failure(Throttled("slow down"), now, now)
    assert breaker.wait_s(T) == pytest.approx(0.5)


def test_rests_that_a_provider_asked_for_make_no_other_rest_longer():
    breaker, now = DeploymentBreaker(lambda: 1.0), T
    for _ in range(8):
        breaker.record_failure(Throttled("slow down", retry_after=1), now, now)
        now += 1
    breaker.record_failure(Throttled("slow down"), now, now)
    assert breaker.wait_s(now) == pytest.approx(0.5)


def test_answer_to_a_call_from_before_the_rest_does_not_end_it():
    breaker = closed_breaker()
    breaker.record_failure(Throttled("slow down", retry_after=5), T, T - 1)
    breaker.record_success(T + 0.1, T - 0.5)
    assert breaker.state(T + 0.2) == "resting"
    breaker.record_success(T + 0.3, T + 0.2)
    assert breaker.state(T + 0.3) == "ok"


def test_a_shorter_rest_does_not_end_a_longer_one():
    breaker = closed_breaker()
    breaker.record_failure(Throttled("slow down", retry_after=30), T, T)
    breaker.record_failure(Throttled("slow down", retry_after=1), T + 1, T + 1)
    assert not breaker.may_be_called(T + 29)


def test_rests_without_retry_after_double_until_a_success():
    breaker, now = DeploymentBreaker(lambda: 1.0), T
    found = []
    for _ in range(4):
        breaker.record_failure(Throttled("slow down"), now, now)
        found.append(breaker.wait_s(now))
        now += found[-1]
    assert found == pytest.approx([0.5, 1, 2, 4])
    breaker.record_success(now, now)
    breaker.record_failure(Throttled("slow down"), now, now)
    assert breaker.wait_s(now) == pytest.approx(0.5)


def test_throttled_probe_ends_the_ejection():
    breaker = ejected_breaker()
    breaker.record_submitted(T + 1)
    breaker.record_failure(Throttled("slow down", retry_after=2), T + 1, T + 1)
    assert breaker.state(T + 1) == "resting"
    assert breaker.may_be_called(T + 3)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["success", "ill", "refused", "throttled", "credentials", "withdraw"]),
        st.floats(0, 5),
    ),
    max_size=60,
)


@given(EVENTS, st.integers(0, 100))
def test_deployment_is_available_after_the_longest_rest(events, seed):
    errors = {
        "ill": ill,
        "refused": refused,
        "throttled": Throttled("slow down", retry_after=4000),
        "credentials": CredentialsRefused("refused our credentials (401)"),
    }
    breaker, now = DeploymentBreaker(random.Random(seed).random), T
    for event, later in events:
        now += later
        if breaker.may_be_called(now):
            breaker.record_submitted(now)
        if event == "success":
            breaker.record_success(now, now)
        elif event == "withdraw":
            breaker.probe_ended()
        elif breaker.record_failure(errors[event], now, now):
            breaker.eject(errors[event], now)
    breaker.probe_ended()
    assert 0 <= breaker.wait_s(now) <= SETTINGS.longest_asked_rest + 1e-6
    assert breaker.may_be_called(now + SETTINGS.longest_asked_rest + 1e-6)
