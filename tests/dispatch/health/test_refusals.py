"""A 400 is the caller's fault where the deployment has embedded such requests lately."""

import pytest

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.refusals import Refusals
from tests.dispatch.parts import T

SETTINGS = DispatchSettings()


@pytest.fixture
def refusals():
    """Those of a deployment that has embedded one request, at T."""
    made = Refusals(SETTINGS)
    made.record_success("kind", T - 1, T)
    return made


def test_400_is_trusted_for_some_time_after_a_success_of_its_kind(refusals):
    assert refusals.are_trusted("kind", T + 60)
    assert not refusals.are_trusted("kind", T + 61)
    assert not refusals.are_trusted("other", T)


def test_number_of_remembered_kinds_is_bounded(refusals):
    for number in range(150):
        refusals.record_success("kind", T, T)
        refusals.record_success(number, T, T)
    assert len(refusals._served) == 100
    assert refusals.are_trusted(149, T)
    assert refusals.are_trusted("kind", T), "the oldest is forgotten, and not the first"
    assert not refusals.are_trusted(0, T)


def test_too_many_400s_in_a_row_are_not_trusted_until_a_later_call_succeeds(refusals):
    for _ in range(SETTINGS.trusted_400s):
        refusals.record_refusal(is_test=False, now=T + 1)
    refusals.record_refusal(is_test=True, now=T + 1)
    assert refusals.are_trusted("kind", T + 1), "a test of a bisection is no further refusal"
    refusals.record_refusal(is_test=False, now=T + 1)
    assert not refusals.are_trusted("kind", T + 1)
    refusals.record_success(
        "kind", T + 0.5, T + 2
    )  # that call started before the first of them ended
    assert not refusals.are_trusted("kind", T + 2)
    refusals.record_success("kind", T + 1, T + 2)
    assert refusals.are_trusted("kind", T + 2)


def refuse(refusals, times, now=T + 1):
    for _ in range(times):
        refusals.record_refusal(is_test=False, now=now)


def test_a_400_to_a_kind_that_was_never_embedded_is_doubted(refusals):
    assert not refusals.are_doubted("kind", T)
    assert refusals.are_doubted("other", T)
    refusals.record_confirmation("other", T)
    assert refusals.are_doubted("other", T), "one bad text says nothing about good ones"


@pytest.fixture
def confirmed(refusals):
    """It has answered many calls in a row with 400, the last of which was confirmed at T + 1."""
    refusals.record_success("other", T - 1, T)
    refuse(refusals, SETTINGS.trusted_400s + 1)
    assert refusals.are_doubted("kind", T + 1)
    refusals.record_confirmation("kind", T + 1)
    return refusals


def test_confirmation_is_of_its_kind_only(confirmed):
    assert not confirmed.are_doubted("kind", T + 1)
    assert confirmed.are_doubted("other", T + 1)


def test_confirmation_expires(confirmed):
    assert not confirmed.are_doubted("kind", T + 1 + SETTINGS.trust_400_for)
    assert confirmed.are_doubted("kind", T + 1.1 + SETTINGS.trust_400_for)


def test_confirmation_holds_for_a_number_of_further_400s(confirmed):
    refuse(confirmed, SETTINGS.trusted_400s)
    assert not confirmed.are_doubted("kind", T + 1)
    refuse(confirmed, 1)
    assert confirmed.are_doubted("kind", T + 1)
    confirmed.record_confirmation("kind", T + 1)
    assert not confirmed.are_doubted("kind", T + 1)


def test_refuted_400_ends_every_confirmation(confirmed):
    confirmed.record_confirmation("other", T + 1)
    confirmed.record_refuted()
    assert confirmed.are_doubted("kind", T + 1)
    assert confirmed.are_doubted("other", T + 1)


def test_number_of_remembered_confirmations_is_bounded(refusals):
    for number in range(150):
        refusals.record_success(number, T, T)
        refusals.record_confirmation(number, T)
    assert len(refusals._confirmed) == 100


def test_success_of_a_call_says_nothing_about_400s_after_its_start(refusals):
    """The deployment began to refuse everything while the call was under way."""
    refusals.record_refusal(is_test=False, now=T + 1)
    for _ in range(SETTINGS.trusted_400s + 1):
        refusals.record_refusal(is_test=False, now=T + 2)
    refusals.record_success("kind", T + 1.5, T + 3)
    assert not refusals.are_trusted("kind", T + 3)
    refusals.record_success("kind", T + 2, T + 4)
    assert refusals.are_trusted("kind", T + 4)


def test_as_many_400s_as_calls_are_in_flight_are_trusted(refusals):
    """While a good call takes its time, many bad texts may be refused."""
    many = 3 * SETTINGS.trusted_400s
    refuse(refusals, many, T + 2)
    refusals.record_success("kind", T + 1, T + 3)
    assert refusals.are_trusted("kind", T + 3, in_flight=many)
    assert not refusals.are_doubted("kind", T + 3, in_flight=many)
    assert not refusals.are_trusted("kind", T + 3, in_flight=many - 1)
    assert refusals.are_doubted("kind", T + 3, in_flight=many - 1)


def test_400s_in_a_row_seem_wrong_until_another_deployment_confirms_one(refusals):
    assert not refusals.seem_wrong("kind", T)
    refuse(refusals, SETTINGS.trusted_400s, T)
    assert not refusals.seem_wrong("kind", T)
    refuse(refusals, 1, T)
    assert refusals.seem_wrong("kind", T)
    refusals.record_confirmation("kind", T)
    assert not refusals.seem_wrong("kind", T)
