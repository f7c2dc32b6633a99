"""Every path and module that the documentation names exists."""

import re

import pytest

from tests.support.server import ROOT

DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_PATH = re.compile(r"`((?:app|tests|bench|docs)/[\w./]*\w)`")
_MODULE = re.compile(r"`(app(?:\.[a-z_0-9]+)+)`")


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_paths_and_modules_exist(page):
    text = page.read_text()
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    missing += [name for name in _MODULE.findall(text) if not _is_module(name)]
    assert not missing


def _is_module(name: str) -> bool:
    """Whether this is a module or a package, or a name in a module."""
    place = ROOT.joinpath(*name.split("."))
    found = (place.with_suffix(".py"), place.parent.with_suffix(".py"))
    return place.is_dir() or any(path.exists() for path in found)
