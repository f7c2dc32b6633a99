"""Load the settings: the default module, the operator's file over it, and the check of both."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from app.config.drift import CheckSettings
from app.config.messages import SettingsError, messages, needs_package
from app.config.model import NAMES, Settings
from app.config.overlay import overlay
from app.config.providers import ProviderKinds
from app.config.settings_schema import settings_schema
from app.config.spaces import with_spaces
from app.tokens import tokenizers
from app.tokens.tokenizers import Tokenizer


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
