"""The packages of dispatch: what they import."""

import ast
import configparser

import grimp
import pytest

from tests.support.server import ROOT

DISPATCH = ROOT / "app" / "dispatch"
PACKAGES = sorted(path.parent for path in DISPATCH.rglob("__init__.py"))


def layers_of_the_contract() -> list[set[str]]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["importlinter:contract:dispatch"]["layers"].split("\n")
    return [{name.strip() for name in line.split("|")} for line in lines if line]


def test_imports_that_the_contract_ignores_are_type_only():
    graph = grimp.build_graph("app", exclude_type_checking_imports=True, cache_dir=None)
    layers = layers_of_the_contract()
    assert {"job"} in layers
    assert not graph.find_illegal_dependencies_for_layers(layers, {"app.dispatch"})


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_none_of_its_files_but_the_dispatcher(package):
    body = ast.parse((package / "__init__.py").read_text()).body
    imports = [ast.unparse(line) for line in body if isinstance(line, ast.Import | ast.ImportFrom)]
    own = ["from app.dispatch.dispatcher import Dispatcher"]
    assert imports == (own if package == DISPATCH else [])
