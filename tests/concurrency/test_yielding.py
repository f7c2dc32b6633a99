"""Long computations yield between groups of rows, and lose none."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from app.concurrency import yielding
from app.concurrency.yielding import WORK_S_PER_YIELD, iterate_with_yields, map_with_yields


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


@given(st.lists(st.integers()))
def test_every_item_comes_once_in_order(items):
    assert list(iterate_with_yields(items)) == items


def test_control_is_yielded_after_some_milliseconds_of_work(monkeypatch):
    now, events = [0.0], []
    monkeypatch.setattr(yielding, "yield_control", lambda: events.append("yield"))
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for item in iterate_with_yields([1, 2, 3, 4, 5]):
        events.append(item)
        now[0] += 0.6 * WORK_S_PER_YIELD
    assert events == [1, 2, "yield", 3, 4, "yield", 5]
