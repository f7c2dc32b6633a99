"""The shape of a settings module, as marshmallow schemas."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from app import config_dispatch
from app.config_schema_fields import (
    Matryoshka,
    Named,
    Path_,
    Strict,
    Tokenizer_,
    address,
    boolean,
    count,
    header,
    key_name,
    key_prefix,
    named,
    network_or_any,
    number_in,
    provider_name,
    seconds,
    text,
    time_zone,
    whole_in,
)
from app.config_schema_names import mistakes_in_names
from app.config_schema_observers import MetricsSchema, TracingSchema
from app.config_schema_words import messages as messages  # for those who ask here for mistakes
from app.config_schema_words import needs_package
from app.config_schema_words import unknown as unknown
from app.providers import registry


class ProviderSchema(Strict):
    kind = text(required=True)
    base_url = fields.String(validate=address)
    api_key = fields.String(validate=[validate.Length(min=1), header], allow_none=True)
    timeout = seconds()
    connect_timeout = seconds()
    max_inputs = count()
    max_tokens = count()
    concurrency = count()
    merge = boolean()
    proxy = fields.String(validate=address, allow_none=True)
    ca_bundle = Path_(allow_none=True)
    headers = Named(
        keys=fields.String(validate=validate.Regexp(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")),
        values=fields.String(validate=header),
    )


class Provider(fields.Field[Any]):
    """One of PROVIDERS: what every kind knows, and what its own module adds as ``OPTIONS``."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError("must be a dictionary")
        kind = value.get("kind")
        kinds = registry.kinds()
        if kind is not None and kind not in kinds:
            raise ValidationError({"kind": [unknown("kind", kind, kinds, "app/providers")]})
        options = _options(kind) if kind else {}
        schema = Strict.from_dict({**ProviderSchema._declared_fields, **options}, name="Provider")
        loaded: dict[str, Any] = schema().load(value)
        # A kind may be stricter about a general setting, which stays one.
        names = [name for name in options if name not in ProviderSchema._declared_fields]
        own = {name: loaded.pop(name) for name in names if name in loaded}
        return {**loaded, "options": own}


def _options(kind: str) -> dict[str, fields.Field[Any]]:
    try:
        return registry.options(kind)
    except ModuleNotFoundError as error:
        raise ValidationError({"kind": [f"{kind!r} {needs_package(error.name, kind)}"]}) from error


class Store(fields.String):
    """The address of a Redis or Valkey: `app.redis.connect` says which there are."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url: str = super()._deserialize(value, *args, **kwargs)
        parts = urlsplit(url.replace("valkey", "redis", 1))
        host = parts.path if "unix" in parts.scheme else parts.netloc.rpartition("@")[2]
        if parts.scheme not in _STORES or not host or not _ports_are_numbers(parts.netloc):
            raise ValidationError(
                "must be redis://host:port/db, rediss://… (TLS), unix:///path, "
                "redis+sentinel://host:port,host:port/service or redis+cluster://host:port"
            )
        if find_spec("redis") is None:
            raise ValidationError(needs_package("redis", "redis"))
        return url


def _ports_are_numbers(netloc: str) -> bool:
    """Of a server, or of several with commas between them."""
    try:
        for server in netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{server}").port
    except ValueError:
        return False
    return True


_STORES = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
)


class DeploymentSchema(Strict):
    provider = text(required=True)
    model = text(required=True)
    weight = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=1e6))
    tier = fields.Integer(strict=True, validate=validate.Range(min=0))
    max_inputs = count(allow_none=True)
    max_tokens = count(allow_none=True)
    concurrency = count(allow_none=True)
    requests_per_minute = count(allow_none=True)
    tokens_per_minute = count(allow_none=True)
    price_per_million_tokens = fields.Float(validate=validate.Range(min=0, max=1e6))


class ModelSchema(Strict):
    dimensions = count(allow_none=True)
    matryoshka = Matryoshka()
    deployments = fields.List(
        fields.Nested(DeploymentSchema),
        required=True,
        validate=validate.Length(min=1, error="must name at least one deployment"),
    )
    hedge = boolean()
    tokenizer = Tokenizer_(allow_none=True)
    passes = fields.List(text(), data_key="pass", attribute="pass")

    @validates_schema
    def _needs_dimensions(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("matryoshka") and not data.get("dimensions"):
            raise ValidationError("must be set where 'matryoshka' is", "dimensions")
        widths = data.get("matryoshka")
        if isinstance(widths, list) and max(widths) > data["dimensions"]:
            raise ValidationError(
                f"must not be over the 'dimensions' of {data['dimensions']}", "matryoshka"
            )


class KeySchema(Strict):
    sha256 = fields.String(
        required=True,
        validate=validate.Regexp(
            r"^[0-9a-fA-F]{64}\Z",
            error="must be the key's SHA-256 in hex (64 digits); `flask --app wsgi new-key NAME` "
            "prints one",
        ),
    )
    models = fields.List(text(), validate=validate.Length(min=1))
    admin = boolean()
    requests_per_minute = count(allow_none=True)
    tokens_per_minute = count(allow_none=True)
    tokens_per_day = count(allow_none=True)
    tokens_per_month = count(allow_none=True)
    dollars_per_month = fields.Float(
        validate=validate.Range(min=0, min_inclusive=False, max=1e6), allow_none=True
    )
    user_requests_per_minute = count(allow_none=True)
    user_tokens_per_minute = count(allow_none=True)
    warn_at = fields.Float(
        validate=validate.Range(min=0, max=1, min_inclusive=False), allow_none=True
    )

    @post_load
    def _lower(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "sha256": data["sha256"].lower()}


class CacheSchema(Strict):
    ttl = fields.Float(validate=validate.Range(min=0, min_inclusive=False))
    max_bytes = count()
    scope = fields.String(validate=validate.OneOf(["shared", "key"]))
    url = Store(allow_none=True)
    namespace = key_prefix()
    timeout = seconds()


class LimitsSchema(Strict):
    body_bytes = count()
    inputs = count()
    waiting = count()
    url = Store(allow_none=True)
    namespace = key_prefix()
    timeout = seconds()
    count_cached_tokens = boolean()
    timezone = fields.String(validate=time_zone)
    when_away = fields.String(validate=validate.OneOf(["allow", "refuse"]))

    @validates_schema
    def _is_counted_elsewhere(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("when_away") == "refuse" and not data.get("url"):
            raise ValidationError(
                "needs 'url': what is counted in memory is never away", "when_away"
            )


DispatchSchema = Strict.from_dict(
    {
        name: whole_in(low, high) if is_whole else number_in(low, high)
        for name, (is_whole, low, high) in config_dispatch.limits().items()
    },
    name="DispatchSchema",
)


class LogsSchema(Strict):
    format = fields.String(validate=validate.OneOf(["json", "human"]))
    level = fields.String(validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))


class DocsSchema(Strict):
    enabled = boolean()


def _usage() -> Schema:
    return _service("UsageSchema")


def _oidc() -> Schema:
    return _service("OidcSchema")


def _notify() -> Schema:
    return _service("NotifySchema")


def _service(name: str) -> Schema:
    module = importlib.import_module("app.config_schema_services")  # which needs this one
    schema: Schema = getattr(module, name)()
    return schema


class SettingsSchema(Strict):
    PROVIDERS = named(Provider(), provider_name, required=True)
    MODELS = named(
        fields.Nested(ModelSchema),
        required=True,
        validate=validate.Length(min=1, error="must name at least one model"),
    )
    KEYS = named(
        fields.Nested(KeySchema),
        key_name,
        required=True,
    )
    CACHE = fields.Nested(CacheSchema, allow_none=True, load_default=dict)
    LIMITS = fields.Nested(LimitsSchema, load_default=dict)
    LOGS = fields.Nested(LogsSchema, load_default=dict)
    USAGE = fields.Nested(_usage, allow_none=True, load_default=None)
    OIDC = fields.Nested(_oidc, allow_none=True, load_default=None)
    BLOCKED_USERS = fields.List(text(), load_default=list)
    BLOCKED_KEYS = fields.List(text(), load_default=list)
    TRUSTED_PROXIES = fields.List(fields.String(validate=network_or_any), load_default=list)
    METRICS = fields.Nested(MetricsSchema, load_default=dict)
    TRACING = fields.Nested(TracingSchema, allow_none=True, load_default=None)
    DOCS = fields.Nested(DocsSchema, load_default=dict)
    DISPATCH = fields.Nested(DispatchSchema, load_default=dict)
    NOTIFY = fields.Nested(_notify, allow_none=True, load_default=None)

    unknown_hint = "; begin a name of your own with an underscore"

    # Also where a part is wrong: one start should show all mistakes.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _names_exist(self, _: Any, original: Any, **__: Any) -> None:
        errors = mistakes_in_names(original)
        if errors:
            raise ValidationError(errors)
