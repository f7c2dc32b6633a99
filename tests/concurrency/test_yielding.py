"""Long computations yield between groups of rows, and lose none."""

from hypothesis import given
from hypothesis import strategies as st

from app.concurrency import yielding
from app.concurrency.yielding import iterate_with_yields, map_with_yields


@given(st.lists(st.integers()), st.integers(1, 20))
def test_every_row_is_computed_in_order(rows, rows_per_yield):
    assert map_with_yields(lambda row: row + 1, rows, rows_per_yield) == [row + 1 for row in rows]


def test_control_is_yielded_between_groups_of_rows(monkeypatch):
    events = []
    monkeypatch.setattr(yielding, "yield_control", lambda: events.append("yield"))
    map_with_yields(events.append, [1, 2, 3, 4, 5], 2)
    assert events == [1, 2, "yield", 3, 4, "yield", 5]
    events.clear()
    map_with_yields(events.append, [1, 2], 2)
    assert events == [1, 2]


@given(st.lists(st.integers()), st.integers(1, 20))
def test_every_item_comes_once_in_order(items, items_per_yield):
    assert list(iterate_with_yields(items, items_per_yield)) == items


def test_control_is_yielded_between_groups_of_items(monkeypatch):
    events = []
    monkeypatch.setattr(yielding, "yield_control", lambda: events.append("yield"))
    for item in iterate_with_yields([1, 2, 3, 4, 5], 2):
        events.append(item)
    assert events == [1, 2, "yield", 3, 4, "yield", 5]
