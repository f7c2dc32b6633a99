"""A 400 is the caller's fault where the deployment has embedded such requests lately."""

import pytest

from app.config.dispatch import DispatchSettings
from app.dispatch.refusals import Refusals
from tests.dispatch.parts import T

SETTINGS = DispatchSettings()


@pytest.fixture
def refusals():
    """Those of a deployment that has embedded one request, at T."""
    made = Refusals(SETTINGS)
    made.served("kind", T - 1, T)
    return made


def test_a_400_is_trusted_for_a_while_after_a_success_of_that_kind(refusals):
    assert refusals.are_trusted("kind", T + 60)
    assert not refusals.are_trusted("kind", T + 61)
    assert not refusals.are_trusted("other", T)


def test_only_so_many_kinds_are_remembered(refusals):
    for number in range(150):
        refusals.served("kind", T, T)
        refusals.served(number, T, T)
    assert len(refusals._served) == 100
    assert refusals.are_trusted(149, T)
    assert refusals.are_trusted("kind", T), "the oldest is forgotten, and not the first"
    assert not refusals.are_trusted(0, T)


def test_too_many_400s_in_a_row_are_not_trusted_until_a_later_call_succeeds(refusals):
    for _ in range(SETTINGS.trusted_400s):
        refusals.refused(is_test=False, now=T + 1)
    refusals.refused(is_test=True, now=T + 1)
    assert refusals.are_trusted("kind", T + 1), "a test of a bisection is no further refusal"
    refusals.refused(is_test=False, now=T + 1)
    assert not refusals.are_trusted("kind", T + 1)
    refusals.served("kind", T + 0.5, T + 2)  # that call started before the first of them ended
    assert not refusals.are_trusted("kind", T + 2)
    refusals.served("kind", T + 1, T + 2)
    assert refusals.are_trusted("kind", T + 2)


def test_a_400_to_a_kind_that_was_never_embedded_is_doubted_until_it_is_confirmed(refusals):
    assert not refusals.are_doubted("kind")
    assert refusals.are_doubted("other")
    refusals.confirmed()
    assert not refusals.are_doubted("other")
    refusals.refuted()
    assert refusals.are_doubted("other")
