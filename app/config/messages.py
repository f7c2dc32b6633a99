"""The mistakes in a settings module, in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class SettingsError(Exception):
    """The settings cannot be used. ``str()`` is one mistake a line."""


def unknown(what: str, name: object, known: Iterable[str], where: str) -> str:
    """``no provider 'opnai' in PROVIDERS (did you mean 'openai'?)``"""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(repr, names))}"
    return f"no {what} {name!r} in {where} ({hint})" if names else f"no {what} {name!r} in {where}"


def messages(errors: Mapping[Any, Any]) -> Iterator[str]:
    """marshmallow's nested errors → lines: ``MODELS['x']['deployments']: what is wrong``."""
    for name, found in errors.items():
        yield from _messages(str(name), found)


def _messages(path: str, found: Any) -> Iterator[str]:
    if not isinstance(found, Mapping):
        for message in found if isinstance(found, list) else [found]:
            yield f"{path}: {_plain(str(message))}"
        return
    for name, inner in found.items():
        yield from _messages(path if name == "_schema" else f"{path}[{name!r}]", inner)


def _plain(message: str) -> str:
    """marshmallow's sentence in the manner of ours: lower case, no full stop."""
    message = message.removesuffix(".")
    known = {
        "Missing data for required field": "must be set",
        "Field may not be null": "must not be None",
        "Not a valid mapping type": "must be a dictionary",
        "Invalid input type": "must be a dictionary",
        "Not a valid list": "must be a list",
        "Not a valid string": "must be a string",
        "Not a valid number": "must be a number",
        "Not a valid integer": "must be a whole number",
        "Not a valid boolean": "must be True or False",
        "Length must be between 1 and None": "must not be empty",
        "Shorter than minimum length 1": "must not be empty",
    }
    return known.get(message) or message[:1].lower() + message[1:]


def needs_package(package: str | None, extra: str) -> str:
    """Return the message that says what to install where an optional dependency is missing."""
    return f"needs the package {package!r}: pip install '.[{extra}]'"
