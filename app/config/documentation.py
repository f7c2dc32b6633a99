"""Write what operators read of the settings, from their declarations.

``python -m app.config.documentation`` writes the comments of ``app/settings.py`` and
docs/settings.md; a test asserts that both are current.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.config.sections.declaration import Declared, declared
from app.config.sections.model import Settings

ROOT = Path(__file__).parents[2]
MODULE, PAGE = ROOT / "app" / "settings.py", ROOT / "docs" / "settings.md"
#: Settings of one section that its comment lists; of more, docs/settings.md has the table.
MAX_IN_COMMENT = 20
_WIDTH = 100
_HEAD = """\
# Settings

A settings file is a Python module; `PROXY_SETTINGS` names it. Each name that it defines replaces
that of [`app/settings.py`](../app/settings.py), whole; another name in upper case is a mistake, so
begin a name of your own with an underscore. `flask --app wsgi check-settings` checks a file before
it is used. This page is made of the declarations in `app/config/` (`python -m
app.config.documentation`): change those.
"""


def module(text: str) -> str:
    """The text of ``app/settings.py`` with the comment above each setting made anew."""
    for name, setting in declared(Settings).items():
        comment = "".join(f"{line}\n" for line in _comment(setting)).replace("\\", r"\\")
        pattern = rf"^(?:#:.*\n)*(?={name.upper()}\b)"
        text = re.sub(pattern, comment, text, count=1, flags=re.MULTILINE)
    return text


def _comment(setting: Declared) -> Iterator[str]:
    yield from _wrapped(setting.reason, "#: ", "#: ")
    yield from _listed(_settings_in(setting), 0)


def _listed(settings: type | None, depth: int) -> Iterator[str]:
    known = {} if settings is None else _by_name(settings)
    if len(known) > MAX_IN_COMMENT:
        yield "#: All of them, with ranges and reasons: docs/settings.md."
        return
    for name, (setting, default) in known.items():
        shown = "must be set" if default is None else f"default {default}"
        text = f'"{name}" ({setting.values}; {shown}): {setting.reason}'
        yield from _wrapped(text, f"#: {'  ' * depth}- ", f"#: {'  ' * depth}  ")
        yield from _listed(_settings_in(setting), depth + 1)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def page() -> str:
    """The text of docs/settings.md."""
    parts = [_HEAD]
    for name, setting in declared(Settings).items():
        parts.append(f"## {name.upper()}\n{setting.reason}\n")
        parts += _tables(name.upper(), _settings_in(setting))
    return "\n".join(parts)


def _tables(place: str, settings: type | None) -> Iterator[str]:
    if settings is None:
        return
    known = _by_name(settings)
    lines = ["| name | takes | default | what it is |", "|---|---|---|---|"]
    for name, (setting, default) in known.items():
        cells = [f"`{name}`", setting.values, default or "must be set", setting.reason]
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines) + "\n"
    for name, (setting, _) in known.items():
        inner = _settings_in(setting)
        if inner is not None:
            yield f"### {place}, `{name}`\n"
            yield from _tables(f"{place}, `{name}`", inner)


def _by_name(settings: type) -> dict[str, tuple[Declared, str | None]]:
    """The settings of a dataclass by their names in a settings file, with their defaults."""
    defaults = {f.name: f for f in dataclasses.fields(settings)}
    return {
        setting.name or name: (setting, setting.shown or _literal(defaults[name]))
        for name, setting in declared(settings).items()
    }


def _settings_in(setting: Declared) -> type | None:
    """The dataclass of the dictionaries that a setting takes."""
    found: type | None = getattr(setting.check, "settings", None)
    return found


def _literal(field: dataclasses.Field[Any]) -> str | None:
    """The default as it stands in a settings file; None where the setting must be set."""
    if field.default is dataclasses.MISSING:
        return None if field.default_factory is dataclasses.MISSING else "empty"
    if isinstance(field.default, tuple):
        return ", ".join(map(repr, field.default))
    is_number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
    return f"{field.default:,.15g}" if is_number else repr(field.default)


if __name__ == "__main__":
    MODULE.write_text(module(MODULE.read_text()))
    PAGE.write_text(page())
