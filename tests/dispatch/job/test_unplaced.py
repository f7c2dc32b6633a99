"""Parts wait with another one of their request that no deployment takes, if they need no less."""

import pytest

from app.dispatch.job.part import Part
from app.dispatch.job.unplaced import _MAX_COMPARED, UnplacedParts
from app.domain import Flow
from app.errors import ProviderUnavailable, Rejected
from tests.dispatch.parts import T, attempt, deployment

LATER = T + 3.0
A = deployment("a")
ILL, BAD = ProviderUnavailable("failed with 503"), Rejected("your input is invalid")


def unplaced(part, room=()):
    """Return the `UnplacedParts` of a part that is looked at again `LATER`."""
    made = UnplacedParts(set(room))
    part.due = LATER
    made.add(part)
    return made


@pytest.mark.parametrize(
    ("tokens", "waits"),
    [([6, 4], True), ([6, 6], True), ([10], True), ([5, 5], False), ([6, 3], False)],
)
def test_part_waits_if_it_needs_no_less_in_all_and_for_its_largest_item(tokens, waits):
    part = Part(0, tokens)
    assert unplaced(Part(0, [6, 4])).include(part, (), T) is waits
    assert part.due == (LATER if waits else 0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"flow": Flow("other")},
        {"last_errors": {A: ILL}},
        {"last_errors": {A: BAD}, "refused_attempts": {A: attempt(A)}},
    ],
)
def test_part_for_which_another_choice_is_made_is_looked_at(fields):
    part, same = Part(0, [1], **fields), Part(0, [1], **fields)
    assert not unplaced(Part(0, [1])).include(part, (), T)
    assert unplaced(same).include(part, (), T)


def test_parts_that_wait_with_one_before_a_full_queue_are_woken_with_it():
    first, second, third = (Part(i, [1]) for i in range(3))
    room = {first}
    made = UnplacedParts(room)
    first.due = LATER
    made.add(first)
    assert made.include(second, (third,), T)
    assert room == {first, second}


def test_after_some_parts_all_that_are_due_wait():
    due, later, small = Part(1, [9]), Part(2, [9], due=T + 1), Part(3, [1])
    made = unplaced(Part(0, [5]))
    for _ in range(_MAX_COMPARED - 1):
        assert made.include(Part(4, [5]), (due, later, small), T)
    assert (due.due, made.include_all) == (0.0, False)
    assert made.include(Part(4, [5]), (due, later, small), T)
    assert made.include_all
    assert (due.due, later.due, small.due) == (LATER, T + 1, LATER)
