"""Every name that a settings file may define, and what it becomes: `Settings`.

A new setting is a field of one of these dataclasses, or of those imported here. What an operator
reads of it, in ``app/settings.py`` and docs/settings.md, is made of its declaration:
``python -m app.config.documentation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, validate

from app.config import addresses
from app.config import fields as own
from app.config.schema import NamedSections, Section
from app.config.sections.cache_and_limits import CacheSettings, LimitSettings
from app.config.sections.declaration import REQUIRED, choice, declared, flag, setting
from app.config.sections.deployments import ModelSettings
from app.config.sections.dispatch import DispatchSettings
from app.config.sections.drift import CheckSettings
from app.config.sections.keys import KeySettings
from app.config.sections.providers import ProviderEntry, ProviderSettings
from app.config.sections.services import (
    MetricsSettings,
    NotifySettings,
    OidcSettings,
    TracingSettings,
    UsageSettings,
)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """``LOGS``."""

    format: str = choice("json", ["json", "human"], "'json': one object a line, for machines.")
    level: str = setting(
        fields.String(validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])),
        "INFO",
        "a level of the `logging` module",
        "Less than this is not logged.",
    )


@dataclass(frozen=True, slots=True)
class DocsSettings:
    """``DOCS``."""

    enabled: bool = flag(True, "False makes both a 404.")


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """``CONSOLE``."""

    enabled: bool = flag(True, "False makes it a 404.")
    secret: str | None = setting(
        fields.String(validate=own.webhook_secret),
        None,
        "16 characters or more",
        "Signs sessions: read it from the environment. Needed where several hosts are behind one "
        "address; without it a restart ends all sessions.",
        secret=True,
    )


def _section(settings: type, reason: str) -> Any:
    """A dictionary; its default is made of the defaults of its settings."""
    return setting(Section(settings), settings, "a dictionary", reason)


def _optional(settings: type, reason: str) -> Any:
    """A dictionary, or None, which is the default."""
    return setting(Section(settings), None, "None or a dictionary", reason)


def _names(reason: str) -> Any:
    """A list of names."""
    return setting(own.Texts(), frozenset, "a list of names", reason)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. The name of a field in capitals is the setting's own."""

    providers: Mapping[str, ProviderSettings] = setting(
        NamedSections(ProviderSettings, own.provider_name, ProviderEntry()),
        REQUIRED,
        "dictionaries by name",
        "The providers, by a name of your choice. A kind may have further settings: "
        "docs/providers.md.",
    )
    models: Mapping[str, ModelSettings] = setting(
        NamedSections(
            ModelSettings, validate=validate.Length(min=1, error="must name at least one model")
        ),
        REQUIRED,
        "dictionaries by name",
        "The models that clients can request, by name. Every deployment of a model must serve the "
        "same vector space.",
    )
    keys: Mapping[str, KeySettings] = setting(
        NamedSections(KeySettings, own.key_name),
        REQUIRED,
        "dictionaries by name",
        "The keys of callers: a name for the logs, and the SHA-256 of the key. `flask --app wsgi "
        "new-key NAME` creates a key.",
    )
    cache: CacheSettings | None = setting(
        Section(CacheSettings),
        CacheSettings,
        "None or a dictionary",
        'Vectors kept for requests with `"caching": true`. None: caching is not configured.',
        none=True,
    )
    limits: LimitSettings = _section(
        LimitSettings,
        "The size of requests, and where the limits of keys and the quotas of deployments are "
        "counted. Without url, each worker counts for its share of them, and from 0 after a "
        "restart; with a url, counts are exact.",
    )
    logs: LogSettings = _section(LogSettings, "Log lines, on the standard output.")
    workers: int = 1  # processes that share the limits: WEB_CONCURRENCY
    usage: UsageSettings | None = _optional(
        UsageSettings,
        "One row for each request in a database, for reports and bills. None: no ledger. Run "
        "`flask --app wsgi usage migrate` once, and after each upgrade. See docs/usage.md.",
    )
    oidc: OidcSettings | None = _optional(
        OidcSettings, "Tokens of an identity provider, used instead of keys."
    )
    blocked_users: frozenset[str] = _names(
        "End users (the field `user`) that get a 403. Taken on reload; `user block` needs none."
    )
    blocked_keys: frozenset[str] = _names(
        "Keys (by name, of any origin) that get a 403. Taken on reload; `key block` needs none."
    )
    trusted_proxies: frozenset[str] = setting(
        own.Texts(fields.String(validate=addresses.network_or_any)),
        frozenset,
        "a list of addresses or networks; '*': any",
        "The proxies in front of this one, whose X-Forwarded-For is used: for keys that are bound "
        "to networks, for /metrics and in the log.",
    )
    metrics: MetricsSettings = _section(
        MetricsSettings,
        "Metrics for Prometheus at /metrics. Behind a proxy that sends X-Forwarded-For, the proxy "
        "must be in TRUSTED_PROXIES, and its address and its client's must both be allowed.",
    )
    tracing: TracingSettings | None = _optional(
        TracingSettings, "Spans for OpenTelemetry (pip install '.[tracing]')."
    )
    docs: DocsSettings = _section(
        DocsSettings,
        "The description of the API at /openapi.json, and a page to try it at /docs. Both need no "
        "key, and show only names of public models.",
    )
    console: ConsoleSettings = _section(
        ConsoleSettings,
        "Pages for people at /console: what happens, what is used, and a playground. They need a "
        "key. See docs/console.md.",
    )
    dispatch: DispatchSettings = _section(
        DispatchSettings,
        'Numbers of dispatch that differ from the defaults: {"late_floor": 5.0}. See '
        "docs/dispatch.md.",
    )
    check: CheckSettings | None = setting(
        Section(CheckSettings),
        CheckSettings,
        "None or a dictionary",
        "Whether deployments still embed as they did when `flask --app wsgi check --record` kept "
        "reference vectors; without those nothing is checked. None: off. See docs/operations.md.",
        none=True,
    )
    notify: NotifySettings | None = _optional(
        NotifySettings,
        'A webhook for soft limits (the "warn_at" of KEYS), JSON and signed. See docs/usage.md, '
        '"Soft limits".',
    )


#: The names that settings may define. Others in upper case are mistakes, except imported ones;
#: names in lower case, or with an underscore before them, are a settings file's own.
NAMES = tuple(name.upper() for name in declared(Settings))
