"""Private names of libraries that the code uses are listed in docs/internals.md, and exist."""

import importlib
import inspect
import pkgutil
import re
from typing import Any

import pytest

import app
from tests.support.server import ROOT

LIBRARIES = ("gunicorn", "urllib3", "requests", "redis", "prometheus_client", "gevent")
ROW = re.compile(r"\| `([\w.:]+)` \| `([^`]+)` \| `([\w.]+)` \| [^|]+ \|")
ROWS = [
    row.groups()
    for line in (ROOT / "docs/internals.md").read_text().splitlines()
    if (row := ROW.fullmatch(line))
]
#: Modules that must not be imported here: they run migrations.
NOT_IMPORTED = ("app.database.migrations",)


def resolve(path: str) -> Any:
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"no module of {path}")


def form_of(name: str) -> str:
    """Return the form of a name as in the table. ``class:attribute`` is an attribute of objects."""
    path, colon, attribute = name.partition(":")
    found = resolve(path)
    if colon:
        classes = [kind for kind in found.__mro__ if kind is not object]
        made = any(
            attribute in vars(kind) or f"self.{attribute}" in inspect.getsource(kind)
            for kind in classes
        )
        return "attribute" if made else "missing"
    if isinstance(found, property):
        return "property"
    if inspect.isclass(found):
        return "class"
    if callable(found):
        return f"({', '.join(inspect.signature(found).parameters)})"
    return type(found).__name__


def last(name: str) -> str:
    return re.split(r"[.:]", name)[-1]


def test_the_table_is_read():
    assert len(ROWS) >= 50
    assert {name.partition(".")[0] for name, _, _ in ROWS} == set(LIBRARIES) - {"redis"}


@pytest.mark.parametrize(("name", "form", "_"), ROWS, ids=[name for name, _, _ in ROWS])
def test_each_name_exists_in_its_form(name: str, form: str, _: str):
    assert form_of(name) == form


@pytest.mark.parametrize(("name", "_", "file"), ROWS, ids=[name for name, _, _ in ROWS])
def test_each_name_in_the_table_is_used(name: str, _: str, file: str):
    places = [*(ROOT / "app").rglob(file), *(ROOT / "deploy").rglob(file)]
    assert any(last(name) in place.read_text() for place in places)


def our_classes() -> list[type]:
    found: dict[int, type] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name.startswith(NOT_IMPORTED):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                found[id(value)] = value
    return list(found.values())


def overridden(kind: type) -> set[str]:
    """Return private names of a library's class that a subclass here overrides."""
    ours = {n for k in kind.__mro__ if k.__module__.startswith("app.") for n in vars(k)}
    theirs = [k for k in kind.__mro__ if k.__module__.partition(".")[0] in LIBRARIES]
    private = {n for n in ours if n.startswith("_") and not n.startswith("__")}
    return {name for name in private if any(name in vars(k) for k in theirs)}


def test_every_private_name_that_is_overridden_is_in_the_table():
    listed = {last(name) for name, _, _ in ROWS}
    found = {name: kind for kind in our_classes() for name in overridden(kind)}
    assert "_emit_body" in found  # otherwise nothing is checked
    assert found.keys() <= listed, found


def test_contributing_names_the_page():
    assert "docs/internals.md" in (ROOT / "CONTRIBUTING.md").read_text()
