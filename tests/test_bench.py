"""The benchmark can be run: `make test` does not measure with it."""

import importlib
import pkgutil

import pytest

import bench
from bench import connections, extras

MODULES = [found.name for found in pkgutil.iter_modules(bench.__path__) if found.name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_module_can_be_imported(name):
    importlib.import_module(f"bench.{name}")


def test_extras_measure_limits_the_ledger_and_the_shared_cache(monkeypatch, capsys):
    for name, small in {"REQUESTS": 20, "ROUNDS": 1, "HITS": 3}.items():
        monkeypatch.setattr(extras, name, small)
    extras.main()
    assert len(capsys.readouterr().out.splitlines()) == len(extras.CALLERS) + 3


def test_jains_index_is_1_where_all_connections_have_as_many_answers():
    assert connections.jain([7, 7, 7]) == 1
    assert connections.jain([9, 0, 0]) == pytest.approx(1 / 3)
