"""The shape of USAGE and OIDC: see `app.config_schema`, which takes these in."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import fields as dataclass_fields
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from app.config import KeySettings
from app.config_schema import KeySchema
from app.config_schema_fields import Named, Strict, address, boolean, count, seconds, text
from app.config_schema_words import needs_package

_SQLITE = "sqlite:///"
#: Signatures that a public key checks. Never an HMAC ("HS256"), for which whoever can read the
#: JWKS could sign, and never "none".
ALGORITHMS = [
    "EdDSA",
    *(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)),
]
#: What a claim can say of a caller; only the name is asked for where "claims" says nothing.
CLAIMS = _OTHER = ("name", "models", "admin")
#: What else a key has in KEYS.
LIMITS = tuple(f.name for f in dataclass_fields(KeySettings) if f.name not in ("sha256", *_OTHER))
LimitsOfKeySchema = Strict.from_dict(
    {name: KeySchema._declared_fields[name] for name in LIMITS}, name="LimitsOfKeySchema"
)


def database_url(value: str) -> str:
    """The address in SQLAlchemy's words. Raises `ValidationError`."""
    if value.startswith("postgresql://"):
        value = value.replace("postgresql://", "postgresql+psycopg://", 1)
    needed = {_SQLITE: ["sqlalchemy", "alembic"]}
    needed["postgresql+psycopg://"] = [*needed[_SQLITE], "psycopg"]
    for start, packages in needed.items():
        if value.startswith(start) and value != start and ":memory:" not in value:
            for package in packages:
                if find_spec(package) is None:
                    extra = "postgresql" if package == "psycopg" else "usage"
                    raise ValidationError(needs_package(package, extra))
            return _readable(value)
    raise ValidationError(
        "must be sqlite:///path/of/a/file (four slashes for an absolute path) or "
        "postgresql+psycopg://user:password@host/database"
    )


def _readable(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError) as error:  # which may repeat the password
        raise ValidationError(
            "cannot be read as an address: the port must be a number, and special characters of "
            "the password must be escaped (%40 for @)"
        ) from error
    return url


class UnusualSchema(Strict):
    requests_per_hour = count(allow_none=True)
    tokens_per_hour = count(allow_none=True)


class UsageSchema(Strict):
    url = text(required=True)
    spool = text()
    spool_bytes = count()
    retention_days = count(allow_none=True)
    keys = boolean()
    unusual = fields.Nested(UnusualSchema, allow_none=True)

    @post_load
    def _complete(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        try:
            url = database_url(data["url"])
        except ValidationError as error:
            raise ValidationError({"url": error.messages}) from error
        beside = url.removeprefix(_SQLITE).partition("?")[0] + "-spool"
        spool = beside if url.startswith(_SQLITE) else "usage-spool"
        unusual = data.pop("unusual", None) or {}
        return {"spool": spool, **data, **unusual, "url": url}


def _https(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is no number
        raise ValidationError("must be an https:// address with a number as its port") from error
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not is_address or parts.scheme not in (("https", "http") if local else ("https",)):
        raise ValidationError("must be an https:// address: whoever can change it can sign tokens")


class Audience(fields.Field[Any]):
    """One name, or a list of those of which a token must hold one."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and names and all(n and isinstance(n, str) for n in names):
            return tuple(names)
        raise ValidationError("must be a name, or a list of names")


class OidcSchema(Strict):
    issuer = text(required=True)
    audience = Audience(required=True)
    jwks_url = fields.String(required=True, validate=_https)
    algorithms = fields.List(
        fields.String(validate=validate.OneOf(ALGORITHMS)), validate=validate.Length(min=1)
    )
    leeway = fields.Float(validate=validate.Range(min=0, max=300))
    refresh = fields.Float(validate=validate.Range(min=1, max=86400))
    claims = Named(keys=fields.String(validate=validate.OneOf([*CLAIMS, *LIMITS])), values=text())
    admins = fields.List(text())
    models = fields.List(text(), validate=validate.Length(min=1))
    limits = fields.Nested(LimitsOfKeySchema)

    @validates_schema
    def _admins_have_a_claim(self, data: dict[str, Any], **_: Any) -> None:
        if bool(data.get("admins")) != ("admin" in data.get("claims", {})):
            raise ValidationError(
                "needs both: the claim in ['claims']['admin'], and here the values of it that "
                "make an administrator",
                "admins",
            )

    @post_load
    def _freeze(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        models = data.get("models", ["*"])
        return {
            **data,
            **({"algorithms": tuple(data["algorithms"])} if "algorithms" in data else {}),
            "claims": {"name": "sub", **data.get("claims", {})},
            "admins": frozenset(data.get("admins", ())),
            "models": None if "*" in models else frozenset(models),
        }


def _secret(value: str) -> None:
    if value.startswith("whsec_"):
        try:
            b64decode(value.removeprefix("whsec_"), validate=True)
        except ValueError as error:
            raise ValidationError("must be base64 after 'whsec_'") from error
    if len(value) < 16:
        raise ValidationError(
            "must have 16 characters or more: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))' prints some"
        )


class NotifySchema(Strict):
    url = fields.String(required=True, validate=address)
    secret = fields.String(required=True, validate=_secret)
    timeout = seconds()
