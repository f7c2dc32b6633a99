"""`tests.chaos.books.difference` finds every way in which a ledger can be wrong."""

import pytest

from tests.chaos.books import difference

STATUSES = {"a": 200, "b": 200, "c": 404}
ROWS = [("a", 200), ("b", 200), ("c", 404)]


def test_a_right_ledger_has_no_difference():
    found = difference(STATUSES, ROWS, 4, 4)
    assert found.differences() == {}
    assert found.noted() == {"rows": 3, "billed": 4}


@pytest.mark.parametrize(
    ("rows", "billed", "name"),
    [
        (ROWS[1:], 4, "missing"),
        ([*ROWS, ("d", 200)], 4, "unanswered"),
        ([*ROWS, ("a", 200)], 4, "repeated"),
        ([*ROWS[:2], ("c", 200)], 4, "wrong_status"),
        (ROWS, 2, "unbilled"),
    ],
)
def test_each_difference_is_named(rows, billed, name):
    assert difference(STATUSES, rows, billed, 4).differences().keys() == {name}


def test_a_row_of_an_answer_that_died_and_one_of_the_second_try_are_a_repetition():
    rows = [*ROWS, ("a", 503)]
    assert difference(STATUSES, rows, 4, 4).differences() == {"repeated": 1}
