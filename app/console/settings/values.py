"""The settings in force as rows of a page: without secrets, and with the origin of each value.

A field that may hold a secret is one that is left out of reprs
(`app.config.sections.declaration.setting`). Of such fields only addresses are shown, without
password and query.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from app.config import NAMES, Settings
from app.config.loading import source_of
from app.config.origins import Variables, origin_of, origins
from app.usage.audit_digests import ADDRESSES, address_without_secrets

#: Entries of one setting that are shown, such as models.
MAX_ENTRIES = 100
HIDDEN = "hidden"
_MODULE = Path(__file__).parents[2] / "settings.py"
_NEVER_SHOWN = ("sha256",)


class Row(NamedTuple):
    """One value: its name below the setting, such as ``['openai']['timeout']``."""

    name: str
    value: str
    origin: str  # "default", "file" or "environment: NAME"
    is_secret: bool = False


@dataclass(slots=True)
class Section:
    """One setting of a settings file."""

    name: str
    rows: list[Row] = field(default_factory=list)
    defaults: int = 0  # values of its entries that are defaults, which have no row
    left_out: int = 0  # entries over `MAX_ENTRIES`


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The file of ``PROXY_SETTINGS``, and whether it was changed since it was loaded."""

    path: str
    is_changed: bool


def sections_of(settings: Settings) -> list[Section]:
    """Return all settings in force, in the order of app/settings.py."""
    given = os.environ.get("PROXY_SETTINGS")
    own = origins(_loaded_source(Path(given))) if given else {}
    module = origins(_MODULE.read_bytes())
    found = []
    for name in NAMES:
        section = Section(name)
        _Reader(section, own, module).read((name,), getattr(settings, name.lower()))
        found.append(section)
    return found


def file_of() -> SettingsFile | None:
    """Return the settings file; None where there is none."""
    given = os.environ.get("PROXY_SETTINGS")
    if not given:
        return None
    path = Path(given)
    try:
        return SettingsFile(given, path.read_bytes() != _loaded_source(path))
    except OSError:
        return SettingsFile(given, is_changed=True)


def _loaded_source(path: Path) -> bytes:
    try:
        return source_of(path)
    except OSError:
        return b""


class _Reader:
    """Adds the values of one setting to its section."""

    def __init__(self, section: Section, own: Variables, module: Variables) -> None:
        self._section = section
        self._own, self._module = own, module

    def read(self, path: tuple[str, ...], value: Any) -> None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            self._read_fields(path, value)
        elif isinstance(value, Mapping):
            self._read_entries(path, value)
        else:
            self._add(path, shown(value), is_default=False)

    def _read_entries(self, path: tuple[str, ...], entries: Mapping[str, Any]) -> None:
        if not entries:
            self._add(path, "empty", is_default=False)
        for place, (name, value) in enumerate(entries.items()):
            if len(path) == 1 and place >= MAX_ENTRIES:
                self._section.left_out = len(entries) - MAX_ENTRIES
                return
            self.read((*path, str(name)), value)

    def _read_fields(self, path: tuple[str, ...], settings: Any) -> None:
        is_entry = len(path) > 1  # then only values that differ from their default are shown
        for each in dataclasses.fields(settings):
            value = getattr(settings, each.name)
            if each.name == "name" and is_entry:
                continue
            is_default = _equals_default(each, value)
            if is_default and is_entry:
                self._section.defaults += 1
                continue
            inner = (
                *path,
                (each.metadata.get("declared") and each.metadata["declared"].name) or each.name,
            )
            if each.name in _NEVER_SHOWN or not each.repr:
                self._add_secret(inner, each.name, value, is_default)
            elif isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not is_default):
                self.read(inner, value)
            elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
                for place, entry in enumerate(value):
                    self.read((*inner, str(place)), entry)
            else:
                self._add(inner, shown(value), is_default=is_default)

    def _add_secret(self, path: tuple[str, ...], name: str, value: Any, is_default: bool) -> None:
        if name in ADDRESSES and value is not None:
            self._add(path, address_without_secrets(value) or "", is_default=is_default)
        elif isinstance(value, Mapping) and value:
            for inner in value:
                self._add((*path, str(inner)), HIDDEN, is_default=False, is_secret=True)
        else:
            text = shown(value) if not value else HIDDEN
            self._add(path, text, is_default=is_default, is_secret=bool(value))

    def _add(
        self, path: tuple[str, ...], value: str, *, is_default: bool, is_secret: bool = False
    ) -> None:
        origin = "default" if is_default else origin_of(path, self._own, self._module, os.environ)
        name = "".join(f"[{part}]" if part.isdecimal() else f"[{part!r}]" for part in path[1:])
        self._section.rows.append(Row(name, value, origin, is_secret))


def _equals_default(each: dataclasses.Field[Any], value: Any) -> bool:
    if each.default is not dataclasses.MISSING:
        return bool(value == each.default)
    if each.default_factory is not dataclasses.MISSING:
        return bool(value == each.default_factory())
    return False


def shown(value: Any) -> str:
    """Return a value as it would stand in a settings file."""
    if isinstance(value, set | frozenset):
        return ", ".join(sorted(map(str, value))) or "empty"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "empty"
    if isinstance(value, float) and value.is_integer():
        return f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
