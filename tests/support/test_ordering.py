"""Which test modules run first."""

from types import SimpleNamespace

from tests.support.ordering import SIMULATIONS, arrange
from tests.support.server import ROOT


def test_each_module_that_is_not_measured_is_a_file():
    assert [name for name in sorted(SIMULATIONS) if not (ROOT / name).is_file()] == []


def test_long_modules_run_first_and_two_end_to_end_beside_a_simulation():
    marks = []
    names = [
        *("tests/api/test_json.py", "tests/dispatch/test_late.py", "tests/dispatch/test_search.py"),
        *("tests/dispatch/test_silence.py", "tests/e2e/test_api.py", "tests/e2e/test_usage.py"),
    ]
    items = [
        SimpleNamespace(nodeid=f"{name}::test_{n}", add_marker=marks.append)
        for name in names
        for n in range(2)
    ]
    arrange(items)
    order = [names[place] for place in (2, 4, 5, 3, 0, 1)]
    assert [item.nodeid for item in items] == [f"{n}::test_{i}" for n in order for i in range(2)]
    assert [mark.name for mark in marks] == ["no_cover"] * 4
