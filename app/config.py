"""Settings: a Python module in, frozen and checked dataclasses out.

All mistakes are found at once, each on a line that names the setting and says what would be right.
Nothing here knows Flask, requests or a running proxy, so that the check can run anywhere: in
gunicorn's master before a worker starts, in ``flask check-settings``, in a CI job of the operator.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from marshmallow import ValidationError

from app.config_dispatch import DispatchSettings
from app.config_file import SettingsError as SettingsError
from app.config_file import overlay
from app.config_observers import MetricsSettings, TracingSettings
from app.config_schema_words import needs_package
from app.config_services import NotifySettings, OidcSettings, UsageSettings
from app.tokens import tokenizers
from app.tokens.tokenizers import Tokenizer

#: The names that settings may define. Others in upper case are mistakes, except imported ones;
#: names in lower case, or with an underscore before them, are a settings file's own.
NAMES: tuple[str, ...] = ("PROVIDERS", "MODELS", "KEYS", "CACHE", "LIMITS", "LOGS")
NAMES += ("USAGE", "OIDC", "BLOCKED_USERS", "BLOCKED_KEYS", "TRUSTED_PROXIES")
NAMES += ("METRICS", "TRACING", "DOCS", "DISPATCH", "NOTIFY")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    name: str
    kind: str
    base_url: str | None = field(default=None, repr=False)  # may hold a password
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 60.0  # seconds, one attempt
    connect_timeout: float = 5.0  # seconds
    max_inputs: int | None = None  # of one call; None: the kind's own limit
    max_tokens: int | None = None
    concurrency: int = 64  # calls at once, of all workers together
    merge: bool = True  # requests that wait leave in one call
    proxy: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: What only this kind knows, an access key among it.
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    provider: str
    model: str  # the provider's name of it
    weight: float = 1.0
    tier: int = 0
    max_inputs: int | None = None  # as for the provider, for this model alone
    max_tokens: int | None = None
    concurrency: int | None = None
    requests_per_minute: int | None = None  # of all workers together
    tokens_per_minute: int | None = None
    price_per_million_tokens: float = 0.0  # dollars


@dataclass(frozen=True, slots=True)
class ModelSettings:
    name: str
    deployments: tuple[DeploymentSettings, ...]
    dimensions: int | None = None
    matryoshka: bool | tuple[int, ...] = False
    passes: frozenset[str] = frozenset()
    hedge: bool = False
    tokenizer: str | None = None  # a tiktoken encoding, or the path of a tokenizer.json

    def can_cut_to(self, width: int) -> bool:
        """Whether the proxy itself may shorten this model's vectors to ``width``."""
        if isinstance(self.matryoshka, tuple):
            return width in self.matryoshka
        return self.matryoshka and self.dimensions is not None and width <= self.dimensions


@dataclass(frozen=True, slots=True)
class KeySettings:
    name: str
    sha256: str
    models: frozenset[str] | None = None  # None: every model
    admin: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    dollars_per_month: float | None = None
    user_requests_per_minute: int | None = None  # of each end user of the key
    user_tokens_per_minute: int | None = None
    warn_at: float | None = None  # share of each quota and budget at which operators are warned


@dataclass(frozen=True, slots=True)
class CacheSettings:
    ttl: float = 3600.0  # seconds
    max_bytes: int = 256 * 2**20
    scope: str = "shared"
    url: str | None = field(default=None, repr=False)  # of a Redis or Valkey behind it
    namespace: str = "embeddings"  # what its keys there begin with
    timeout: float = 0.05  # seconds an answer waits for it at most


@dataclass(frozen=True, slots=True)
class LimitSettings:
    body_bytes: int = 32 * 2**20
    inputs: int = 8192
    waiting: int = 1000
    url: str | None = field(default=None, repr=False)  # of a Redis or Valkey that counts for all
    namespace: str = "embeddings"
    timeout: float = 0.05  # seconds
    count_cached_tokens: bool = True
    timezone: str = "UTC"  # in which the days and months of limits begin
    when_away: str = "allow"  # or "refuse": keys with a limit of a day or a month, without the url


@dataclass(frozen=True, slots=True)
class LogSettings:
    format: str = "json"
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class DocsSettings:
    enabled: bool = True  # /docs and /openapi.json, which ask for no key


@dataclass(frozen=True, slots=True)
class Settings:
    providers: Mapping[str, ProviderSettings]
    models: Mapping[str, ModelSettings]
    keys: Mapping[str, KeySettings]
    cache: CacheSettings | None
    limits: LimitSettings
    logs: LogSettings
    workers: int = 1  # processes that share the limits: WEB_CONCURRENCY
    usage: UsageSettings | None = None
    oidc: OidcSettings | None = None
    blocked_users: frozenset[str] = frozenset()
    blocked_keys: frozenset[str] = frozenset()  # names
    trusted_proxies: frozenset[str] = frozenset()  # addresses whose X-Forwarded-For is believed
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tracing: TracingSettings | None = None
    docs: DocsSettings = field(default_factory=DocsSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    notify: NotifySettings | None = None


def load() -> Settings:
    """The default settings with the file named in ``PROXY_SETTINGS`` laid over, checked.

    Raises `SettingsError`.
    """
    # Reloaded, for it reads the environment: a process may load settings more than once.
    module = importlib.reload(importlib.import_module("app.settings"))
    names = {name: getattr(module, name) for name in NAMES}
    path = os.environ.get("PROXY_SETTINGS")
    if path:
        names |= overlay(Path(path), NAMES)
    return check(names)


def check(names: Mapping[str, Any]) -> Settings:
    """Settings by name → `Settings`; a name that is missing takes its default.

    Raises `SettingsError` with every mistake.
    """
    # Imported here: the schema asks the provider modules, which know `ProviderSettings`.
    from app.config_schema import SettingsSchema, messages

    try:
        loaded: dict[str, Any] = SettingsSchema().load({**names})
    except ValidationError as error:
        raise SettingsError("\n".join(messages(error.normalized_messages()))) from error
    return _freeze(loaded)


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


def _freeze(loaded: dict[str, Any]) -> Settings:
    return Settings(
        providers=_named(ProviderSettings, loaded["PROVIDERS"]),
        models=MappingProxyType({n: _model(n, m) for n, m in loaded["MODELS"].items()}),
        keys=_named(KeySettings, {n: _key(k) for n, k in loaded["KEYS"].items()}),
        cache=CacheSettings(**loaded["CACHE"]) if loaded["CACHE"] is not None else None,
        limits=LimitSettings(**loaded["LIMITS"]),
        logs=LogSettings(**loaded["LOGS"]),
        workers=_workers(os.environ.get("WEB_CONCURRENCY", "")),
        usage=UsageSettings(**loaded["USAGE"]) if loaded["USAGE"] is not None else None,
        oidc=OidcSettings(**loaded["OIDC"]) if loaded["OIDC"] is not None else None,
        blocked_users=frozenset(loaded["BLOCKED_USERS"]),
        blocked_keys=frozenset(loaded["BLOCKED_KEYS"]),
        trusted_proxies=frozenset(loaded["TRUSTED_PROXIES"]),
        metrics=MetricsSettings(**loaded["METRICS"]),
        tracing=TracingSettings(**loaded["TRACING"]) if loaded["TRACING"] is not None else None,
        docs=DocsSettings(**loaded["DOCS"]),
        dispatch=DispatchSettings(**loaded["DISPATCH"]),
        notify=NotifySettings(**loaded["NOTIFY"]) if loaded["NOTIFY"] is not None else None,
    )


def _workers(given: str) -> int:
    return max(1, int(given)) if given.isdecimal() else 1


def _named(cls: Any, entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return MappingProxyType({name: cls(name=name, **entry) for name, entry in entries.items()})


def _model(name: str, entry: dict[str, Any]) -> ModelSettings:
    matryoshka = entry.get("matryoshka", False)
    return ModelSettings(
        name=name,
        deployments=tuple(DeploymentSettings(**d) for d in entry["deployments"]),
        dimensions=entry.get("dimensions"),
        matryoshka=matryoshka if isinstance(matryoshka, bool) else tuple(matryoshka),
        passes=frozenset(entry.get("pass", ())),
        hedge=entry.get("hedge", False),
        tokenizer=entry.get("tokenizer"),
    )


def _key(entry: dict[str, Any]) -> dict[str, Any]:
    models = entry.get("models", ["*"])
    return {**entry, "models": None if "*" in models else frozenset(models)}
