"""Run a settings file, and say in one line what is wrong where it does not run."""

from __future__ import annotations

import ast
import os
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from app.config.messages import SettingsError

#: The environment variable that names a descriptor with the settings file's text.
KEPT_FD = "PROXY_SETTINGS_FD"


def overlay(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Return the settings that a file defines: known names, and others in upper case.

    The others are misspelt, probably. Raises `SettingsError`.
    """
    try:
        source = source_of(path)
    except OSError as error:
        raise SettingsError(f"PROXY_SETTINGS: cannot read {path}: {error.strerror}") from error
    names: dict[str, Any] = {"__file__": str(path), "__name__": "proxy_settings"}
    try:
        tree = ast.parse(source, str(path))
        exec(compile(tree, str(path), "exec"), names)  # noqa: S102 - a Python module
    except (Exception, SystemExit) as error:
        raise SettingsError(_failure(path, error)) from error
    imported = _imported(tree)
    return {
        name: value
        for name, value in names.items()
        if name in known or (name[0] != "_" and name.isupper() and name not in imported)
    }


def _imported(tree: ast.Module) -> set[str]:
    """The names that a module imports one by one, such as the constants of other modules."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def source_of(path: Path) -> bytes:
    """The file's text; under gunicorn, as it was when it was checked (deploy/gunicorn.conf.py)."""
    kept = os.environ.get(KEPT_FD)
    if kept is None:
        return path.read_bytes()
    return os.pread(int(kept), os.fstat(int(kept)).st_size, 0)


def _failure(path: Path, error: BaseException) -> str:
    """One line: the place in a settings file where it failed, and what the failure was."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    if isinstance(error, SystemExit):
        return f"{where}: the file ends the process (SystemExit: {error}): remove that"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{where}: cannot open {error.filename!r}: {error.strerror}"
    hint = ": set this environment variable" if isinstance(error, KeyError) else ""
    return " ".join(f"{where}: {type(error).__name__}: {error}{hint}".split())
