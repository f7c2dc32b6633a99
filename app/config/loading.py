"""Load the settings: the default module, the operator's file over it, and the check of both.

Where the file does not run, one line says what is wrong.
"""

from __future__ import annotations

import ast
import importlib
import os
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from app.config.messages import SettingsError, messages, needs_package
from app.config.sections.drift import CheckSettings
from app.config.sections.model import NAMES, Settings
from app.config.sections.providers import ProviderKinds
from app.config.settings_schema import settings_schema
from app.config.spaces import with_spaces
from app.tokens import tokenizers
from app.tokens.tokenizers import Tokenizer

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


def load(kinds: ProviderKinds | None = None) -> Settings:
    """The default settings with the file named in ``PROXY_SETTINGS`` laid over, checked.

    ``kinds`` as for `check`. Raises `SettingsError`.
    """
    return check(read(), kinds)


def read() -> dict[str, Any]:
    """Return settings by name, unchecked. Raises `SettingsError` for a file that does not run."""
    # Reloaded, because it reads the environment: a process may load settings more than once.
    module = importlib.reload(importlib.import_module("app.settings"))
    names = {name: getattr(module, name) for name in NAMES}
    path = os.environ.get("PROXY_SETTINGS")
    if path:
        names |= overlay(Path(path), NAMES)
    return names


def check(names: Mapping[str, Any], kinds: ProviderKinds | None = None) -> Settings:
    """Settings by name → `Settings`; a name that is missing takes its default.

    ``kinds`` (`app.providers.registry`) says which kinds of provider there are and what each takes.
    Commands that ask no provider do without: then what only a kind knows is taken unchecked.
    Raises `SettingsError` with every mistake.
    """
    try:
        loaded = settings_schema(kinds)().load({**names})
    except ValidationError as error:
        raise SettingsError("\n".join(messages(error.normalized_messages()))) from error
    loaded["models"] = with_spaces(loaded["models"], loaded["providers"], kinds)
    compared = loaded.get("check", CheckSettings())
    if compared is not None:
        loaded["check"] = compared.beside(os.environ.get("PROXY_SETTINGS"))
    return Settings(**loaded, workers=_workers(os.environ.get("WEB_CONCURRENCY", "")))


def load_tokenizers(settings: Settings) -> dict[str, Tokenizer]:
    """The tokenizers of the models that name one. Raises `SettingsError`."""
    loaded = {}
    for name, model in settings.models.items():
        if model.tokenizer is None:
            continue
        place = f"MODELS[{name!r}]['tokenizer']"
        try:
            loaded[name] = tokenizers.load(model.tokenizer)
        except ModuleNotFoundError as error:
            text = f"{place}: {needs_package(error.name, 'tokenizers')}"
            raise SettingsError(text) from error
        except Exception as error:  # whatever its library says of a bad name or file
            text = f"{place}: cannot load {model.tokenizer!r}: {error}"
            raise SettingsError(" ".join(text.split())) from error
    return loaded


def _workers(given: str) -> int:
    return max(1, int(given)) if given.isdecimal() else 1
