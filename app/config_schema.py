"""The shape of a settings module, as marshmallow schemas, and its mistakes in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
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
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(map(repr, names))}"
    return f"no {what} {name!r} in {where} ({hint})" if names else f"no {what} {name!r} in {where}"


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
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValidationError("must be an http:// or https:// address")


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
    return fields.String(validate=validate.Length(min=1), **kwargs)


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
    headers = fields.Dict(
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
        own = {name: loaded.pop(name) for name in options if name in loaded}
        return {**loaded, "options": own}


def _options(kind: str) -> dict[str, fields.Field[Any]]:
    try:
        return registry.options(kind)
    except ModuleNotFoundError as error:
        raise ValidationError(
            {"kind": [f"{kind!r} needs the package {error.name!r}: pip install '.[{kind}]'"]}
        ) from error


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

    @post_load
    def _lower(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**data, "sha256": data["sha256"].lower()}


class CacheSchema(Strict):
    ttl = fields.Float(validate=validate.Range(min=0, min_inclusive=False))
    max_bytes = _count()
    scope = fields.String(validate=validate.OneOf(["shared", "key"]))
    url = fields.Raw(
        allow_none=True,
        validate=validate.Equal(None, error="must be None: this version has no shared cache"),
    )

    @post_load
    def _drop_url(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        data.pop("url", None)
        return data


class LimitsSchema(Strict):
    body_bytes = _count()
    inputs = _count()
    waiting = _count()


class LogsSchema(Strict):
    format = fields.String(validate=validate.OneOf(["json", "human"]))
    level = fields.String(validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))


def _named(nested: fields.Field[Any], **kwargs: Any) -> fields.Dict:
    return fields.Dict(keys=text(), values=nested, **kwargs)


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
        validate=validate.Length(
            min=1,
            error="no key may call the proxy. Set ALPHANEURAL_API_KEY to one of your choice, or "
            "add a line from `flask --app wsgi new-key NAME`",
        ),
    )
    CACHE = fields.Nested(CacheSchema, allow_none=True, load_default=dict)
    LIMITS = fields.Nested(LimitsSchema, load_default=dict)
    LOGS = fields.Nested(LogsSchema, load_default=dict)

    # Also where a part is wrong: one start should show all mistakes.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _names_exist(self, _: Any, original: Any, **__: Any) -> None:
        errors: dict[str, Any] = {}
        providers, models = _dict(original, "PROVIDERS"), _dict(original, "MODELS")
        for name, model in models.items():
            deployments = model.get("deployments") if isinstance(model, Mapping) else None
            for i, deployment in enumerate(deployments if isinstance(deployments, list) else ()):
                provider = deployment.get("provider") if isinstance(deployment, Mapping) else None
                if isinstance(provider, str) and provider and provider not in providers:
                    place = errors.setdefault("MODELS", {}).setdefault(name, {})
                    place = place.setdefault("value", {}).setdefault("deployments", {})
                    text = unknown("provider", provider, providers, "PROVIDERS")
                    place[i] = {"provider": [text]}
        for name, key in _dict(original, "KEYS").items():
            allowed = key.get("models") if isinstance(key, Mapping) else None
            for i, model in enumerate(allowed if isinstance(allowed, list) else ()):
                if isinstance(model, str) and model not in ("*", *models):
                    place = errors.setdefault("KEYS", {}).setdefault(name, {})
                    place = place.setdefault("value", {}).setdefault("models", {})
                    place[i] = [unknown("model", model, [*models, "*"], "MODELS")]
        if errors:
            raise ValidationError(errors)


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
        if name in ("value", "key") and isinstance(inner, list | Mapping) and _is_entry(found):
            yield from _messages(path, inner)  # marshmallow's Dict puts a level in between
        elif name == "_schema":
            yield from _messages(path, inner)
        else:
            yield from _messages(f"{path}[{name!r}]", inner)


def _is_entry(found: Mapping[Any, Any]) -> bool:
    return set(found) <= {"value", "key"}


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
