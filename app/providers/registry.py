"""The kinds of provider there are: the modules of `app.providers.kinds`, and the presets.

Only the modules of kinds in use are imported: a cloud library is loaded only if a provider needs
it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from marshmallow import fields

from app.config import ProviderSettings, Settings
from app.providers import kinds as wire_formats
from app.providers import presets
from app.providers.base import Provider, WireFormat
from app.providers.options import Effect, Option, values_in_use
from app.providers.presets import PRESETS


def kinds() -> list[str]:
    """Every ``kind`` that PROVIDERS may name."""
    modules = {module.name for module in pkgutil.iter_modules(wire_formats.__path__)}
    return sorted(modules | PRESETS.keys())


def options(kind: str) -> dict[str, fields.Field[Any]]:
    """The settings only that kind knows. `ModuleNotFoundError` where its library is missing."""
    return {name: option.check for name, option in _options(kind).items()}


def effects(kind: str) -> dict[str, Effect]:
    """Whether each of those settings changes vectors."""
    return {name: option.effect for name, option in _options(kind).items()}


def vector_options(provider: ProviderSettings, model: str) -> dict[str, Any]:
    """The options of a provider that change the vectors of its ``model``, as in use."""
    return values_in_use(_options(provider.kind), provider.options, model)


def make(settings: ProviderSettings) -> Provider:
    """The provider that the settings describe."""
    made = describe(settings)
    if not isinstance(made, WireFormat):
        made.load()
        return made
    from app.providers.http.transport import HttpProvider

    return HttpProvider(settings, made)


def verify(settings: Settings) -> None:
    """Check the settings and models of each provider by its kind. Raises `SettingsError`."""
    for model in settings.models.values():
        for deployment in model.deployments:
            describe(settings.providers[deployment.provider]).limits(deployment.model)


def describe(settings: ProviderSettings) -> WireFormat | Provider:
    """Return a wire format, or a provider without one; loads no model, opens no connection."""
    made: WireFormat | Provider = _module(settings.kind).make(settings)
    return made


def make_used(settings: Settings) -> dict[str, Provider]:
    """The providers that some deployment names."""
    used = {d.provider for model in settings.models.values() for d in model.deployments}
    return {name: make(p) for name, p in settings.providers.items() if name in used}


def _options(kind: str) -> Mapping[str, Option]:
    if kind in PRESETS:
        return presets.options_of(kind)
    options: Mapping[str, Option] = _module(kind).OPTIONS
    return options


def _module(kind: str) -> ModuleType:
    return presets if kind in PRESETS else importlib.import_module(f"app.providers.kinds.{kind}")
