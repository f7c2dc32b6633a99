"""The load of a simulation, as its file describes it: who sends what, to providers how fast.

It is checked as settings are: each mistake is a line that names the field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate

from app import config
from app.auth.authenticator import caller_of
from app.config import KeySettings, Settings, SettingsError, unknown
from app.config import fields as own
from app.config.messages import messages
from app.config.schema import NamedSections, Sections, Strict, fields_of, schema_of
from app.config.sections.declaration import (
    REQUIRED,
    count,
    number,
    positive,
    seconds,
    setting,
    text,
)
from app.config.sections.keys import KEY_OPTIONS
from app.domain import DEFAULT_TIMEOUT, TIERS, Tier
from app.providers import registry

#: Where keys are looked for, in messages.
_KEYS = "KEYS or in 'keys' of the load"


class WholeNumbers(fields.Field[Any]):
    """A whole number from 1, or the lowest and the highest of several, as a pair."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[int, int]:
        pair = value if isinstance(value, list) else [value, value]
        if len(pair) != 2 or any(type(n) is not int for n in pair) or not 1 <= pair[0] <= pair[1]:
            raise ValidationError("must be a whole number from 1, or a range as [1, 5]")
        return pair[0], pair[1]


def _range(default: int, reason: str) -> Any:
    values = "whole number from 1, or a range as [1, 5]"
    return setting(WholeNumbers(), (default, default), values, reason)


@dataclass(frozen=True, slots=True)
class CallerLoad:
    """One of ``callers``: requests of one kind."""

    key: str = text(REQUIRED, "a name in KEYS", "The key of its requests.")
    model: str = text(REQUIRED, "a name in MODELS", "The model that they ask for.")
    tier: Tier | None = setting(
        fields.String(validate=validate.OneOf(TIERS)),
        None,
        "'priority', 'default' or 'flex'",
        "The service tier that they ask for; None: that of the key.",
    )
    user: str | None = text(None, "a name", "Their end user.")
    clients: int | None = count(None, "Clients that each send a request after each answer.")
    per_second: float | None = positive(None, 1e5, "Requests a second, at random times (Poisson).")
    texts: tuple[int, int] = _range(1, "Texts of a request.")
    tokens: tuple[int, int] = _range(200, "Tokens of a text.")
    timeout: float = seconds(DEFAULT_TIMEOUT, "Their timeout.")

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check that it is said how often requests come, once."""
        if (data.get("clients") is None) == (data.get("per_second") is None):
            raise ValidationError("must have either 'clients' or 'per_second'")
        return data


@dataclass(frozen=True, slots=True)
class ProviderLoad:
    """One of ``providers``: how long its calls take, and limits other than those of PROVIDERS."""

    name: str
    seconds_a_call: float | None = number(None, 0, 600, "What every call takes.")
    seconds_a_text: float | None = number(None, 0, 600, "What each text adds.")
    seconds_a_1000_tokens: float | None = number(None, 0, 600, "What 1,000 tokens add.")
    concurrency: int | None = count(None, "Calls at once; None: as in PROVIDERS.")
    max_inputs: int | None = count(None, "Texts of a call; None: as in PROVIDERS.")


class _Key(Strict.from_dict({name: fields_of(KeySettings)[name] for name in KEY_OPTIONS})):  # type: ignore[misc]  # made at run time
    """The schema of a key in a load: the options that it may have in KEYS."""


@dataclass(frozen=True, slots=True)
class Load:
    """All that a load file says."""

    callers: tuple[CallerLoad, ...] = setting(
        Sections(
            CallerLoad, validate=validate.Length(min=1, error="must name at least one caller")
        ),
        REQUIRED,
        "a list of dictionaries",
        "Who sends requests.",
    )
    providers: Mapping[str, ProviderLoad] = setting(
        NamedSections(ProviderLoad), dict, "dictionaries by name", "How fast providers are."
    )
    keys: Mapping[str, Mapping[str, Any]] = setting(
        own.Named(keys=own.text(own.key_name), values=fields.Nested(_Key)),
        dict,
        "dictionaries by name",
        "Shares, tiers and limits to try: laid over those of KEYS.",
    )


def read_load(path: Path) -> Load:
    """Return the load that a file describes. Raises `SettingsError`."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    try:
        return Load(**schema_of(Load)().load(found))
    except ValidationError as error:
        lines = messages(error.normalized_messages())
        raise SettingsError("\n".join(line.removeprefix("_schema: ") for line in lines)) from error


def settings_for(load: Load, workers: int | None = None) -> Settings:
    """Return the settings of this environment, with what the load says otherwise.

    Raises `SettingsError`, also where the load names what the settings do not have.
    """
    names = config.read()
    if isinstance(keys := names.get("KEYS"), Mapping):
        names["KEYS"] = {**keys, **{n: _key(n, keys.get(n, {}), load.keys[n]) for n in load.keys}}
    settings = config.check(names, registry)
    if wrong := list(_mistakes(load, settings)):
        raise SettingsError("\n".join(wrong))
    registry.verify(settings)
    providers = dict(settings.providers)
    for name, said in load.providers.items():
        known = providers[name]
        providers[name] = replace(
            known,
            concurrency=said.concurrency or known.concurrency,
            max_inputs=said.max_inputs or known.max_inputs,
        )
    return replace(settings, providers=providers, workers=workers or settings.workers)


def _key(name: str, configured: Any, said: Mapping[str, Any]) -> Any:
    """Lay what the load says of a key over its settings, if there are any."""
    if not isinstance(configured, Mapping):
        return configured  # a mistake, which the check of the settings names
    digest = hashlib.sha256(f"simulated {name}".encode()).hexdigest()
    return {"sha256": digest, **configured, **said}


def _mistakes(load: Load, settings: Settings) -> Iterator[str]:
    """Name what the load refers to and the settings do not have, or do not allow."""
    for name in load.providers:
        if name not in settings.providers:
            wrong = unknown("provider", name, settings.providers, "PROVIDERS")
            yield f"providers[{name!r}]: {wrong}"
    for number_, caller in enumerate(load.callers):
        for field, wrong in _mistakes_of(caller, settings):
            yield f"callers[{number_}][{field!r}]: {wrong}"


def _mistakes_of(caller: CallerLoad, settings: Settings) -> Iterator[tuple[str, str]]:
    key, model, most = settings.keys.get(caller.key), caller.model, settings.limits.inputs
    if model not in settings.models:
        yield "model", unknown("model", model, settings.models, "MODELS")
    if key is None:
        yield "key", unknown("key", caller.key, settings.keys, _KEYS)
    else:
        permitted = caller_of(key)
        if model in settings.models and not permitted.may_use(model):
            yield "model", f"the key {caller.key!r} may not use {model!r}"
        if caller.tier is not None and not permitted.may_ask_for(caller.tier):
            yield "tier", f"the key {caller.key!r} may not ask for {caller.tier!r}"
    if caller.texts[1] > most:
        yield "texts", f"must be at most {most:,}, by LIMITS['inputs']"
