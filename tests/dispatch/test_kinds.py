"""The kind of a call: equal for calls that may be merged, and small enough to be remembered."""

import itertools

from app.dispatch.queue.attempts import kind_of
from app.domain import Call


def kind(passed):
    return kind_of(Call("m", ["text"], None, passed=passed), None)


def test_kind_is_small_however_long_the_passed_on_fields_are():
    """Each deployment remembers 100 of them."""
    assert len(repr(kind({"task": "a" * 1_000_000}))) < 200


def test_passed_on_values_that_python_takes_for_equal_have_other_kinds():
    values = [1, True, 1.0, "1", [1], {"a": 1}, {"a": True}, None]
    for one, other in itertools.combinations(values, 2):
        assert kind({"task": one}) != kind({"task": other})


def test_order_of_passed_on_fields_does_not_matter():
    assert kind({"a": 1, "b": {"c": 2, "d": 3}}) == kind({"b": {"d": 3, "c": 2}, "a": 1})
