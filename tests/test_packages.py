"""The docstrings of packages name exactly the files and packages that they have."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.server import ROOT

APP = ROOT / "app"
PACKAGES = sorted(path.parent for path in APP.glob("*/**/__init__.py"))


def docstring_of(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""


def contents_of(package: Path) -> set[str]:
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(APP)))
def test_docstring_of_a_package_lists_its_files(package):
    assert set(re.findall(r"`(\w+)`:", docstring_of(package))) == contents_of(package)


def test_docstring_of_the_app_names_all_that_it_has():
    assert set(re.findall(r"`app\.(\w+)", docstring_of(APP))) == contents_of(APP)
