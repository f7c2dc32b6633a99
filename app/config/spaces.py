"""The vector space of each model: an id that the operator names, or that is derived.

Vectors of two spaces cannot be compared: in one index they make its searches wrong without an
error. The derived id is a digest of all that changes a vector: the kind of the provider, the
options of that kind with an effect on vectors (`app.providers.effects`), the provider's name of the
model, and the names of passed-on fields. Not of addresses, keys, weights, limits or timeouts: those
may differ between two installations of one space. The tokenizer of a model is no part of it either:
it must be the model's own, so that the text of token ids is the text that the caller encoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from app.config.deployments import DeploymentSettings, ModelSettings
from app.config.messages import SettingsError
from app.config.providers import ProviderKinds, ProviderSettings

#: Changes where the proxy itself embeds otherwise: other fields sent, another way to cut.
LAYOUT = 1
#: What a derived id begins with, and its hex digits after that.
DERIVED_PREFIX, DERIVED_DIGITS = "auto-", 16
MAX_VALUE_SHOWN = 60  # characters of a value in the message about deployments that differ


def with_spaces(
    models: Mapping[str, ModelSettings],
    providers: Mapping[str, ProviderSettings],
    kinds: ProviderKinds | None,
) -> Mapping[str, ModelSettings]:
    """Return the models, each with the id of its space.

    Without ``kinds`` the options of providers are left out of derived ids. Raises `SettingsError`
    with a line for each model whose space is not named and whose deployments differ.
    """
    mistakes: list[str] = []
    found = {}
    for name, model in models.items():
        if model.space:
            found[name] = model
            continue
        facts = [facts_of(model, d, providers[d.provider], kinds) for d in model.deployments]
        differing = next((i for i, other in enumerate(facts) if other != facts[0]), None)
        if differing is not None:
            labels = [
                f"{d.provider}/{d.model}"
                for d in (model.deployments[0], model.deployments[differing])
            ]
            mistakes.append(_differ(name, labels, facts[0], facts[differing]))
        found[name] = replace(model, space=derived_id(facts[0]))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return MappingProxyType(found)


def facts_of(
    model: ModelSettings,
    deployment: DeploymentSettings,
    provider: ProviderSettings,
    kinds: ProviderKinds | None,
) -> dict[str, Any]:
    """Return all settings of a deployment that change its vectors, by name."""
    options = {} if kinds is None else kinds.vector_options(provider, deployment.model)
    return {
        **options,
        "kind": provider.kind,
        "model": deployment.model,
        "pass": sorted(model.passes),
    }


def derived_id(facts: Mapping[str, Any]) -> str:
    """Return the id of the space with these facts: the same in every process and installation."""
    text = json.dumps({"layout": LAYOUT, "facts": dict(facts)}, sort_keys=True, default=repr)
    return DERIVED_PREFIX + sha256(text.encode()).hexdigest()[:DERIVED_DIGITS]


def _differ(
    model: str, labels: list[str], first: Mapping[str, Any], other: Mapping[str, Any]
) -> str:
    """Return the mistake that these deployments differ, and how."""
    names = sorted(n for n in {**first, **other} if first.get(n) != other.get(n))
    different = ", ".join(f"{n!r} ({_shown(first.get(n))}, {_shown(other.get(n))})" for n in names)
    return (
        f"MODELS[{model!r}]['space']: must be set, because what {' and '.join(labels)} embed with "
        f"differs: {different}. Vectors of two spaces mixed in one index make its searches wrong: "
        "if these are one space, name it (`flask --app wsgi check` then compares their vectors)"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_SHOWN else text[:MAX_VALUE_SHOWN] + "…"
