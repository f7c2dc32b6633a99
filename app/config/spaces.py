"""The vector space of each model: an id that the operator names, or that is derived.

Vectors of two spaces cannot be compared: in one index they make its searches wrong without an
error. The derived id is a digest of all that changes a vector: the kind of the provider, the
options of that kind with an effect on vectors (`app.providers.options`), the provider's name of the
model, and the names of passed-on fields. Not of addresses, keys, weights, limits or timeouts: those
may differ between two installations of one space. The tokenizer of a model is no part of it either:
it must be the model's own, so that the text of token ids is the text that the caller encoded. Where
it decodes token ids, it is part of their cache keys (`app.cache.keys`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from app.config.messages import SettingsError
from app.config.sections.deployments import DeploymentSettings, ModelSettings
from app.config.sections.providers import ProviderKinds, ProviderSettings

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
    found = dict(models)
    for name, model in models.items():
        if not model.space:
            try:
                found[name] = replace(model, space=_derive(model, providers, kinds))
            except SettingsError as error:
                mistakes.append(str(error))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return MappingProxyType(found)


def _derive(
    model: ModelSettings, providers: Mapping[str, ProviderSettings], kinds: ProviderKinds | None
) -> str:
    """Return the id of a model's space. Raises `SettingsError` where its deployments differ."""
    first, *others = model.deployments
    facts = facts_of(model, first, providers[first.provider], kinds)
    space = derived_id(facts)
    for deployment in others:
        other = facts_of(model, deployment, providers[deployment.provider], kinds)
        if derived_id(other) != space:
            raise SettingsError(_differ(model.name, (first, deployment), facts, other))
    return space


def served_apart(
    models: Mapping[str, ModelSettings], addresses: Mapping[str, str]
) -> dict[str, str]:
    """Return models of one derived id that no common address serves, with what tells them apart.

    At another address a name may be that of another model: of a deployment at Azure, or of an
    engine that ignores it. So they are not known to be one space. Two of them that an address, or a
    chain of models with common ones, connects have the same value. ``addresses`` are those of the
    providers, by name.
    """
    by_space: dict[str, list[str]] = {}
    for name, model in models.items():
        if model.space.startswith(DERIVED_PREFIX):
            by_space.setdefault(model.space, []).append(name)
    found: dict[str, str] = {}
    for names in by_space.values():
        groups: list[tuple[set[str], list[str]]] = []
        for name in names:
            own, members = {addresses[d.provider] for d in models[name].deployments}, [name]
            for group in [group for group in groups if group[0] & own]:
                groups.remove(group)
                own |= group[0]
                members += group[1]
            groups.append((own, members))
        if len(groups) > 1:
            found |= {name: min(members) for _, members in groups for name in members}
    return found


def facts_of(
    model: ModelSettings,
    deployment: DeploymentSettings,
    provider: ProviderSettings,
    kinds: ProviderKinds | None,
) -> dict[str, Any]:
    """Return all settings of a deployment that change its vectors, by name, as JSON has them.

    Raises `SettingsError` where JSON cannot have the value of an option.
    """
    options = dict(kinds.vector_options(provider, deployment.model) if kinds is not None else {})
    for name, value in options.items():
        try:
            options[name] = json.loads(_canonical(value))
        except (TypeError, ValueError) as error:
            place = f"PROVIDERS[{provider.name!r}][{name!r}]"
            raise SettingsError(f"{place}: cannot be written as JSON: {error}") from error
    return {
        **options,
        "kind": provider.kind,
        "model": deployment.model,
        "pass": sorted(model.passes),
    }


def derived_id(facts: Mapping[str, Any]) -> str:
    """Return the id of the space with these facts: the same in every process and installation."""
    text = _canonical({"layout": LAYOUT, "facts": facts})
    return DERIVED_PREFIX + sha256(text.encode()).hexdigest()[:DERIVED_DIGITS]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _differ(
    model: str,
    deployments: Sequence[DeploymentSettings],
    facts: Mapping[str, Any],
    others: Mapping[str, Any],
) -> str:
    """Return the mistake that two deployments differ, and how."""
    labels = " and ".join(f"{d.provider}/{d.model}" for d in deployments)
    pairs = {name: (facts.get(name), others.get(name)) for name in sorted({**facts, **others})}
    different = ", ".join(
        f"{name!r} ({_shown(one)}, {_shown(other)})"
        for name, (one, other) in pairs.items()
        if _canonical(one) != _canonical(other)
    )
    return (
        f"MODELS[{model!r}]['space']: must be set, because what {labels} embed with "
        f"differs: {different}. Vectors of two spaces mixed in one index make its searches wrong: "
        "if these are one space, name it (`flask --app wsgi check` then compares their vectors)"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_SHOWN else text[:MAX_VALUE_SHOWN] + "…"
