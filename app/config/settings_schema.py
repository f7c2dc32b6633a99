"""The schema of all settings, and the check that names in them refer to something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.fields import Field

from app.config.fields import provider_name
from app.config.messages import unknown
from app.config.schema import NamedSections, Strict, schema_of
from app.config.sections.model import Settings
from app.config.sections.providers import ProviderEntry, ProviderKinds, ProviderSettings


class _All(Strict):
    unknown_hint = "; begin a name of your own with an underscore"

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        """Setting ``CACHE`` is the field ``cache`` of `Settings`."""
        field_obj.data_key = field_name.upper()

    # Also where a part is wrong: one start should show all mistakes.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _names_exist(self, _: Any, original: Any, **__: Any) -> None:
        errors = mistakes_in_names(original)
        if errors:
            raise ValidationError(errors)


def settings_schema(kinds: ProviderKinds | None) -> type[Schema]:
    """The schema of a settings module; ``kinds`` of provider as `app.config.check` takes them."""
    entry = ProviderEntry(kinds)
    providers = NamedSections(ProviderSettings, provider_name, entry, required=True)
    return schema_of(Settings, {"providers": providers}, _All)


def mistakes_in_names(original: Mapping[str, Any]) -> dict[str, Any]:
    """The mistakes, nested as marshmallow's are. Any part of the settings may be wrong itself."""
    errors: dict[str, Any] = {}
    providers, models = _dict(original, "PROVIDERS"), _dict(original, "MODELS")
    for name, model in models.items():
        deployments = model.get("deployments") if isinstance(model, Mapping) else None
        for i, deployment in enumerate(_listed(deployments)):
            provider = _text(deployment.get("provider") if isinstance(deployment, Mapping) else "")
            if provider and provider not in providers:
                place = errors.setdefault("MODELS", {}).setdefault(name, {})
                place = place.setdefault("deployments", {})
                text = unknown("provider", provider, providers, "PROVIDERS")
                place[i] = {"provider": [text]}
    for name, key in _dict(original, "KEYS").items():
        allowed = key.get("models") if isinstance(key, Mapping) else None
        for i, model in enumerate(map(_text, _listed(allowed))):
            if model and model not in ("*", *models):
                place = errors.setdefault("KEYS", {}).setdefault(name, {})
                place = place.setdefault("models", {})
                place[i] = [unknown("model", model, [*models, "*"], "MODELS")]
    _digests_differ(_dict(original, "KEYS"), errors)
    if not _has_other_keys(original):
        _need_keys(original, errors)
    return errors


def _digests_differ(keys: Mapping[str, Any], errors: dict[str, Any]) -> None:
    """Two names of one key: the caller would be known by either, and blocked by one."""
    names: dict[str, str] = {}
    for name, key in keys.items():
        digest = key.get("sha256") if isinstance(key, Mapping) else None
        if not isinstance(digest, str):
            continue
        first = names.setdefault(digest.lower(), name)
        if first != name:
            place = errors.setdefault("KEYS", {}).setdefault(name, {})
            place["sha256"] = [f"is that of {first!r} too: a key has one name"]


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


def _text(value: Any) -> str:
    """Return a value as marshmallow reads a string, of bytes too; an empty one if it is none."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return ""
    return text if isinstance(text, str) else ""


def _listed(value: Any) -> list[Any]:
    """Return a value as a list if marshmallow accepts it as one; else an empty list."""
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _dict(original: Any, name: str) -> Mapping[str, Any]:
    value = original.get(name)
    return value if isinstance(value, Mapping) else {}
