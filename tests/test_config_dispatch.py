"""Every number of dispatch can be set, within its range, and keeps its kind."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow.fields import Integer

from app import config
from app.config import SettingsError
from app.config.sections.declaration import declared
from app.config.sections.dispatch import DispatchSettings
from tests.api.fake import settings

#: Of each number: whether it is whole, and the range it must be in.
LIMITS = {
    name: (isinstance(d.check, Integer), d.check.validators[0].min, d.check.validators[0].max)
    for name, d in declared(DispatchSettings).items()
}
NUMBERS = pytest.mark.parametrize("name", LIMITS)


def checked(**numbers):
    return config.check(settings(DISPATCH=numbers)).dispatch


def test_without_a_setting_all_numbers_are_the_defaults():
    assert checked() == DispatchSettings()
    assert config.check(settings()).dispatch == DispatchSettings()


@NUMBERS
@pytest.mark.parametrize("end", [0, 1])
def test_every_number_can_be_set_to_both_ends_of_its_range(name, end):
    is_whole, *ends = LIMITS[name]
    value = getattr(checked(**{name: ends[end]}), name)
    assert value == ends[end]
    assert isinstance(value, int if is_whole else float)


@NUMBERS
def test_one_number_changes_no_other(name):
    given_number = LIMITS[name][2]
    made = checked(**{name: given_number})
    others = [f.name for f in fields(DispatchSettings) if f.name != name]
    for other in others:
        assert getattr(made, other) == getattr(DispatchSettings(), other)


@NUMBERS
def test_a_number_out_of_its_range_is_named(name):
    is_whole, low, high = LIMITS[name]
    step = 1 if is_whole else 0.001
    for wrong in (low - step, high + step):
        with pytest.raises(SettingsError) as caught:
            checked(**{name: wrong})
        assert f"DISPATCH['{name}']" in str(caught.value)


@NUMBERS
@pytest.mark.parametrize("wrong", ["many", None, True, float("nan"), float("inf"), [1]], ids=repr)
def test_value_that_is_no_number_is_named(name, wrong):
    with pytest.raises(SettingsError) as caught:
        checked(**{name: wrong})
    assert f"DISPATCH['{name}']" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in LIMITS if LIMITS[name][0]])
def test_a_whole_number_takes_no_fraction(name):
    with pytest.raises(SettingsError) as caught:
        checked(**{name: LIMITS[name][1] + 0.5})
    assert f"DISPATCH['{name}']" in str(caught.value)


def test_misspelt_name_has_a_suggestion():
    with pytest.raises(SettingsError, match=r"did you mean 'late_floor'\?"):
        checked(late_flor=1.0)


@NUMBERS
def test_every_default_is_within_its_range(name):
    _, low, high = LIMITS[name]
    assert low <= getattr(DispatchSettings(), name) <= high


@given(st.data())
def test_any_combination_within_the_ranges_is_accepted(data):
    numbers = {
        name: data.draw(st.integers(int(low), int(high)) if whole else st.floats(low, high))
        for name, (whole, low, high) in LIMITS.items()
        if data.draw(st.booleans())
    }
    made = checked(**numbers)
    assert {name: getattr(made, name) for name in numbers} == numbers
