"""The shape of a settings module, as marshmallow schemas, and its mistakes in words."""

from __future__ import annotations

import difflib
import importlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_load,
    validate,
    validates_schema,
)

from app.providers import registry


def unknown(what: str, name: object, known: Iterable[str], where: str) -> str:
    """``no provider 'opnai' in PROVIDERS (did you mean 'openai'?)``"""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(str(name), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(repr, names))}"
    return f"no {what} {name!r} in {where} ({hint})" if names else f"no {what} {name!r} in {where}"


class Named(fields.Dict):
    """Entries by name. Without the level that marshmallow puts between a name and its mistakes."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            found = {
                name: place.get("key") or place.get("value")
                for name, place in error.messages.items()
            }
            raise ValidationError(found) from error


class Strict(Schema):
    """A dictionary whose unknown keys are mistakes that say which key was probably meant."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "unknown setting", "type": "must be a dictionary"}  # noqa: RUF012

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        known = [field.data_key or name for name, field in self.fields.items()]
        for name, found in error.normalized_messages().items():
            if found == ["unknown setting"]:
                close = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                found[0] = f"unknown setting ({hint})"


class Path_(fields.String):  # noqa: N801
    """The path of a file that can be read."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        path: str = super()._deserialize(value, *args, **kwargs)
        if not Path(path).is_file():
            raise ValidationError(f"no file {path!r}")
        return path


class Tokenizer_(Path_):  # noqa: N801
    """The name of a tiktoken encoding, or the path of a tokenizer.json."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if isinstance(value, str) and value.endswith(".json"):
            return super()._deserialize(value, *args, **kwargs)
        return fields.String._deserialize(self, value, *args, **kwargs)


def _url(value: str) -> None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a bracket that stands alone, a port that is none
        good = False
    if not good:
        raise ValidationError("must be an http:// or https:// address")


def _network(value: str) -> None:
    try:
        ipaddress.ip_network("0.0.0.0/0" if value == "*" else value)
    except ValueError as error:
        raise ValidationError("must be an address, a network (10.0.0.0/8) or '*'") from error


def _header(value: str) -> None:
    if not value.isprintable() or not value.isascii():
        raise ValidationError("must be printable ASCII: no line break, no other control character")


def _seconds(**kwargs: Any) -> fields.Float:
    return fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=3600), **kwargs)


def _count(**kwargs: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(min=1), **kwargs)


def _boolean() -> fields.Boolean:
    return fields.Boolean(truthy={True}, falsy={False})


def text(**kwargs: Any) -> fields.String:
    """A string that is not empty."""

    def not_empty(value: object) -> None:
        # Of a dictionary's key marshmallow validates what it could not make a string of.
        if not isinstance(value, str):
            raise ValidationError("must be a string")
        if not value:
            raise ValidationError("must not be empty")

    return fields.String(validate=not_empty, **kwargs)


class ProviderSchema(Strict):
    kind = text(required=True)
    base_url = fields.String(validate=_url)
    api_key = fields.String(validate=[validate.Length(min=1), _header], allow_none=True)
    timeout = _seconds()
    connect_timeout = _seconds()
    max_inputs = _count()
    max_tokens = _count()
    concurrency = _count()
    merge = _boolean()
    proxy = fields.String(validate=_url, allow_none=True)
    ca_bundle = Path_(allow_none=True)
    headers = Named(
        keys=fields.String(validate=validate.Regexp(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")),
        values=fields.String(validate=_header),
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
        raise ValidationError(
            {"kind": [f"{kind!r} needs the package {error.name!r}: pip install '.[{kind}]'"]}
        ) from error


class Store(fields.String):
    """The address of a Redis or Valkey: `app.valkey` says which there are."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url: str = super()._deserialize(value, *args, **kwargs)
        parts = urlsplit(url.replace("valkey", "redis", 1))
        host = parts.path if "unix" in parts.scheme else parts.netloc.rpartition("@")[2]
        if parts.scheme not in _STORES or not host:
            raise ValidationError(
                "must be redis://host:port/db, rediss://… (TLS), unix:///path, "
                "redis+sentinel://host:port,host:port/service or redis+cluster://host:port"
            )
        if find_spec("redis") is None:
            raise ValidationError("needs the package 'redis': pip install '.[redis]'")
        return url


_STORES = (
    *("redis", "rediss", "unix", "redis+unix"),
    *("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
)


def _namespace() -> fields.String:
    return fields.String(
        validate=validate.Regexp(
            r"^[A-Za-z0-9._-]{1,64}\Z", error="must be 1 to 64 letters, digits, '.', '_' or '-'"
        )
    )


class DeploymentSchema(Strict):
    provider = text(required=True)
    model = text(required=True)
    weight = fields.Float(validate=validate.Range(min=0, min_inclusive=False, max=1e6))
    tier = fields.Integer(strict=True, validate=validate.Range(min=0))
    max_inputs = _count(allow_none=True)
    max_tokens = _count(allow_none=True)
    concurrency = _count(allow_none=True)
    requests_per_minute = _count(allow_none=True)
    tokens_per_minute = _count(allow_none=True)
    price_per_million_tokens = fields.Float(validate=validate.Range(min=0, max=1e6))


class Matryoshka(fields.Field[Any]):
    """True, False, or the list of widths a vector may be cut to."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool | list[int]:
        if isinstance(value, bool):
            return value
        if (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(w, int) and not isinstance(w, bool) and w > 0 for w in value)
        ):
            return list(value)
        raise ValidationError("must be True, False or a list of widths, for instance [256, 512]")


class ModelSchema(Strict):
    dimensions = _count(allow_none=True)
    matryoshka = Matryoshka()
    deployments = fields.List(
        fields.Nested(DeploymentSchema),
        required=True,
        validate=validate.Length(min=1, error="must name at least one deployment"),
    )
    hedge = _boolean()
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
    admin = _boolean()
    requests_per_minute = _count(allow_none=True)
    tokens_per_minute = _count(allow_none=True)
    tokens_per_day = _count(allow_none=True)
    tokens_per_month = _count(allow_none=True)
    dollars_per_month = fields.Float(
        validate=validate.Range(min=0, min_inclusive=False, max=1e6), allow_none=True
    )
    user_requests_per_minute = _count(allow_none=True)
    user_tokens_per_minute = _count(allow_none=True)

    @post_load
    def _lower(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "sha256": data["sha256"].lower()}


class CacheSchema(Strict):
    ttl = fields.Float(validate=validate.Range(min=0, min_inclusive=False))
    max_bytes = _count()
    scope = fields.String(validate=validate.OneOf(["shared", "key"]))
    url = Store(allow_none=True)
    namespace = _namespace()
    timeout = _seconds()


class LimitsSchema(Strict):
    body_bytes = _count()
    inputs = _count()
    waiting = _count()
    url = Store(allow_none=True)
    namespace = _namespace()
    timeout = _seconds()
    count_cached_tokens = _boolean()


class LogsSchema(Strict):
    format = fields.String(validate=validate.OneOf(["json", "human"]))
    level = fields.String(validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))


def _named(nested: fields.Field[Any], **kwargs: Any) -> fields.Dict:
    return Named(keys=text(), values=nested, **kwargs)


def _service(name: str, where: str = "services") -> Callable[[], Schema]:
    def make() -> Schema:
        module = importlib.import_module(f"app.config_schema_{where}")  # which needs this one
        schema: Schema = getattr(module, name)()
        return schema

    return make


class SettingsSchema(Strict):
    PROVIDERS = _named(Provider(), required=True)
    MODELS = _named(
        fields.Nested(ModelSchema),
        required=True,
        validate=validate.Length(min=1, error="must name at least one model"),
    )
    KEYS = _named(
        fields.Nested(KeySchema),
        required=True,
    )
    CACHE = fields.Nested(CacheSchema, allow_none=True, load_default=dict)
    LIMITS = fields.Nested(LimitsSchema, load_default=dict)
    LOGS = fields.Nested(LogsSchema, load_default=dict)
    USAGE = fields.Nested(_service("UsageSchema"), allow_none=True, load_default=None)
    OIDC = fields.Nested(_service("OidcSchema"), allow_none=True, load_default=None)
    BLOCKED_USERS = fields.List(text(), load_default=list)
    BLOCKED_KEYS = fields.List(text(), load_default=list)
    TRUSTED_PROXIES = fields.List(fields.String(validate=_network), load_default=list)
    METRICS = fields.Nested(_service("MetricsSchema", "observers"), load_default=dict)
    TRACING = fields.Nested(
        _service("TracingSchema", "observers"), allow_none=True, load_default=None
    )

    # Also where a part is wrong: one start should show all mistakes.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _names_exist(self, _: Any, original: Any, **__: Any) -> None:
        errors: dict[str, Any] = {}
        providers, models = _dict(original, "PROVIDERS"), _dict(original, "MODELS")
        for name, model in models.items():
            deployments = model.get("deployments") if isinstance(model, Mapping) else None
            for i, deployment in enumerate(_listed(deployments)):
                provider = deployment.get("provider") if isinstance(deployment, Mapping) else None
                if isinstance(provider, str) and provider and provider not in providers:
                    place = errors.setdefault("MODELS", {}).setdefault(name, {})
                    place = place.setdefault("deployments", {})
                    text = unknown("provider", provider, providers, "PROVIDERS")
                    place[i] = {"provider": [text]}
        for name, key in _dict(original, "KEYS").items():
            allowed = key.get("models") if isinstance(key, Mapping) else None
            for i, model in enumerate(_listed(allowed)):
                if isinstance(model, str) and model not in ("*", *models):
                    place = errors.setdefault("KEYS", {}).setdefault(name, {})
                    place = place.setdefault("models", {})
                    place[i] = [unknown("model", model, [*models, "*"], "MODELS")]
        if not _has_other_keys(original):
            _need_keys(original, errors)
        if errors:
            raise ValidationError(errors)


def _has_other_keys(original: Mapping[str, Any]) -> bool:
    """Whether callers may come by other ways than KEYS."""
    usage = original.get("USAGE")
    in_table = isinstance(usage, Mapping) and bool(usage.get("keys"))
    return in_table or bool(original.get("OIDC"))


def _need_keys(original: Mapping[str, Any], errors: dict[str, Any]) -> None:
    """Where KEYS are all the keys there are: that there is one, and that blocked ones exist."""
    keys, blocked = original.get("KEYS"), original.get("BLOCKED_KEYS")
    if isinstance(keys, Mapping) and not keys:
        errors["KEYS"] = [
            "no key may call the proxy. Set ALPHANEURAL_API_KEY to one of your choice, or "
            "add a line from `flask --app wsgi new-key NAME`"
        ]
    for i, name in enumerate(blocked if isinstance(blocked, list) else ()):
        if isinstance(name, str) and isinstance(keys, Mapping) and name not in keys:
            errors.setdefault("BLOCKED_KEYS", {})[i] = [unknown("key", name, keys, "KEYS")]


def _listed(value: Any) -> list[Any]:
    """What marshmallow takes for a list, as one."""
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _dict(original: Any, name: str) -> Mapping[str, Any]:
    value = original.get(name)
    return value if isinstance(value, Mapping) else {}


def messages(errors: Mapping[Any, Any]) -> Iterator[str]:
    """marshmallow's nested errors → lines: ``MODELS['x']['deployments']: what is wrong``."""
    for name, found in errors.items():
        yield from _messages(str(name), found)


def _messages(path: str, found: Any) -> Iterator[str]:
    if not isinstance(found, Mapping):
        for message in found if isinstance(found, list) else [found]:
            yield f"{path}: {_plain(str(message))}"
        return
    for name, inner in found.items():
        yield from _messages(path if name == "_schema" else f"{path}[{name!r}]", inner)


def _plain(message: str) -> str:
    """marshmallow's sentence in the manner of ours: lower case, no full stop."""
    message = message.removesuffix(".")
    known = {
        "Missing data for required field": "must be set",
        "Field may not be null": "must not be None",
        "Not a valid mapping type": "must be a dictionary",
        "Invalid input type": "must be a dictionary",
        "Not a valid list": "must be a list",
        "Not a valid string": "must be a string",
        "Not a valid number": "must be a number",
        "Not a valid integer": "must be a whole number",
        "Not a valid boolean": "must be True or False",
        "Length must be between 1 and None": "must not be empty",
        "Shorter than minimum length 1": "must not be empty",
    }
    return known.get(message) or message[:1].lower() + message[1:]
