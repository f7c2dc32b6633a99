"""A kind is refused by all deployments if several 400s to it were confirmed, and none embeds it."""

import pytest

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.deployments.refused_kinds import RefusedKinds
from tests.dispatch.parts import T

SETTINGS = DispatchSettings()
ENOUGH = SETTINGS.trusted_400s


def confirm(kinds, times, kind="kind", now=T):
    for _ in range(times):
        kinds.record_refusal(kind, is_confirmed=False, now=now)
        kinds.record_refusal(kind, is_confirmed=True, now=now)


@pytest.fixture
def kinds():
    """Two deployments have refused the same items of as many requests as are needed, at T."""
    made = RefusedKinds(SETTINGS)
    confirm(made, ENOUGH)
    return made


def test_kind_is_refused_once_enough_400s_are_confirmed():
    kinds = RefusedKinds(SETTINGS)
    confirm(kinds, ENOUGH - 1)
    assert not kinds.are_refused("kind", T)
    confirm(kinds, 1)
    assert kinds.are_refused("kind", T)
    assert not kinds.are_refused("other", T)


def test_confirmations_are_forgotten_after_a_while(kinds):
    assert kinds.are_refused("kind", T + SETTINGS.trust_400_for)
    late = T + SETTINGS.trust_400_for + 0.1
    assert not kinds.are_refused("kind", late)
    confirm(kinds, 1, now=late)
    assert not kinds.are_refused("kind", late)


def test_unconfirmed_400s_count_only_up_to_the_number_of_confirmed_ones(kinds):
    for _ in range(ENOUGH):
        kinds.record_refusal("kind", is_confirmed=False, now=T)
    assert kinds.are_refused("kind", T)
    kinds.record_refusal("kind", is_confirmed=False, now=T)
    assert not kinds.are_refused("kind", T)
    confirm(kinds, 1)
    assert kinds.are_refused("kind", T)


def test_kind_that_a_deployment_has_embedded_is_never_refused(kinds):
    kinds.record_embedded("kind")
    assert not kinds.are_refused("kind", T)
    confirm(kinds, 10 * ENOUGH)
    assert not kinds.are_refused("kind", T)


def test_refuted_400_ends_all_confirmations(kinds):
    confirm(kinds, ENOUGH, "other")
    kinds.record_refuted()
    assert not kinds.are_refused("kind", T)
    assert not kinds.are_refused("other", T)


def test_number_of_remembered_kinds_is_bounded(kinds):
    for number in range(150):
        kinds.record_embedded("served often")
        kinds.record_embedded(number)
        confirm(kinds, 1, ("refused", number))
    assert len(kinds._embedded) == len(kinds._confirmed) == 100
    confirm(kinds, ENOUGH, "served often")
    assert not kinds.are_refused("served often", T)
