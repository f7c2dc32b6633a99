"""Every path and module that the documentation, docstrings and comments name exists."""

import re

import pytest

from tests.support.server import ROOT

DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_PATH = re.compile(r"`((?:app|tests|bench|docs)/[\w./]*\w)`")
_MODULE = re.compile(r"`(app(?:\.[a-z_0-9]+)+)`")
_NAME = re.compile(r"`(app(?:\.\w+)+)`")


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_paths_and_modules_exist(page):
    text = page.read_text()
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    missing += [name for name in _MODULE.findall(text) if not _is_module(name)]
    assert not missing


@pytest.mark.parametrize("folder", ["app", "tests"])
def test_names_of_the_app_in_docstrings_and_comments_exist(folder):
    files = (ROOT / folder).rglob("*.py")
    named = {(file, name) for file in files for name in _NAME.findall(file.read_text())}
    assert named
    assert not [(file.name, name) for file, name in named if not _exists(name)]


def _exists(name: str) -> bool:
    """Whether this is a module or a package, or names in one, such as a class and its method."""
    place, names = ROOT, name.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    module = place / f"{names[0]}.py" if names else place
    if module.is_file():
        names.pop(0)
    text = (module if module.is_file() else place / "__init__.py").read_text()
    return all(re.search(rf"\b{part}\b", text) for part in names)


def _is_module(name: str) -> bool:
    """Whether this is a module or a package, or a name in a module."""
    place = ROOT.joinpath(*name.split("."))
    found = (place.with_suffix(".py"), place.parent.with_suffix(".py"))
    return place.is_dir() or any(path.exists() for path in found)
