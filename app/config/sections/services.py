"""Settings of services that a proxy can do without: ledger, OIDC, webhook, metrics, tracing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from marshmallow import ValidationError, fields, validate

from app.config import addresses
from app.config import fields as own
from app.config.messages import messages
from app.config.schema import Section, Strict, fields_of
from app.config.sections.declaration import (
    REQUIRED,
    address,
    count,
    flag,
    number,
    seconds,
    setting,
    text,
)
from app.config.sections.keys import KEY_LIMITS, KEY_OPTIONS, KeySettings

#: Signatures that a public key checks. Never an HMAC ("HS256"), for which a reader of the
#: JWKS could sign, and never "none".
ALGORITHMS = [
    "EdDSA",
    *(f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)),
]
#: What a claim can say of a caller, beside its limits.
CLAIMS = ("name", "models", "admin")
#: The networks that may read /metrics without a key: this host.
LOOPBACK = ("127.0.0.0/8", "::1/128")
LimitsOfKeySchema = Strict.from_dict(
    {name: check for name, check in fields_of(KeySettings).items() if name in KEY_OPTIONS},
    name="LimitsOfKeySchema",
)


def check_limits(limits: Mapping[str, Any]) -> None:
    """Raise ValueError for `KEY_OPTIONS` that a key in KEYS may not have; the message names them.

    Stricter than the schema, which reads numbers in text and takes None as no limit: limits that a
    row of a table or a token holds are enforced as they are.
    """
    for name in limits.keys() & {*KEY_LIMITS, "share"}:
        value = limits[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}: must be a number, not {value!r:.100}")
        if not abs(value) <= sys.float_info.max:  # infinite, no number, or a larger integer
            raise ValueError(f"{name}: must be a finite number")
    try:
        LimitsOfKeySchema().load(dict(limits))
    except ValidationError as error:
        raise ValueError("; ".join(messages(error.normalized_messages()))) from error


@dataclass(frozen=True, slots=True)
class UnusualSettings:
    """The usage of one key or end user in an hour from which it is unusual; None: none is."""

    requests_per_hour: int | None = count(None, "Requests in an hour.")
    tokens_per_hour: int | None = count(None, "Tokens in an hour.")


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """``USAGE``: the ledger."""

    url: str = text(
        REQUIRED,
        "address of a database",
        '"sqlite:////var/lib/proxy/usage.db" for one host, '
        '"postgresql+psycopg://user:password@host/database" for many.',
        secret=True,
    )
    spool: str = text(
        "usage-spool",
        "path of a directory",
        "For rows on their way; never of two hosts.",
        shown="beside the SQLite file, else 'usage-spool'",
    )
    spool_bytes: int = count(2**30, "Size of the spool of each worker.", shown="1 GiB")
    retention_days: int | None = count(400, "Days that rows are kept; None: for ever.", none=True)
    keys: bool = flag(False, "Whether the table of keys is asked too (`key new`).")
    unusual: UnusualSettings = setting(
        Section(UnusualSettings),
        UnusualSettings,
        "a dictionary",
        "More than this, by one key or one end user, is warned of.",
        none=True,
        shown="nothing is unusual",
    )

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check the address, and place the spool beside SQLite's file."""
        try:
            url = addresses.database_url(data["url"])
        except ValidationError as error:
            raise ValidationError({"url": error.messages}) from error
        beside = url.removeprefix(addresses.SQLITE).partition("?")[0] + "-spool"
        spool = {"spool": beside} if url.startswith(addresses.SQLITE) else {}
        return {**spool, **data, "url": url, "unusual": data.get("unusual") or UnusualSettings()}


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """``OIDC``: whose tokens are taken, and what their claims say of the caller."""

    issuer: str = text(REQUIRED, "an address", "The claim `iss` of a token.")
    audience: tuple[str, ...] = setting(
        own.Audience(), REQUIRED, "a name or a list of names", "One of them is a token's `aud`."
    )
    jwks_url: str = setting(
        fields.String(validate=addresses.https_address),
        REQUIRED,
        "https:// address",
        "Where the provider's public keys are.",
        secret=True,
    )
    algorithms: tuple[str, ...] = setting(
        own.Tuple(
            fields.String(validate=validate.OneOf(ALGORITHMS)), validate=validate.Length(min=1)
        ),
        ("RS256", "ES256", "EdDSA"),
        "a list",
        "How tokens may be signed.",
    )
    leeway: float = number(30.0, 0, 300, "Seconds by which clocks may differ.")
    refresh: float = number(300.0, 1, 86400, "Seconds between reads of the public keys.")
    claims: Mapping[str, str] = setting(
        own.Named(
            keys=fields.String(validate=validate.OneOf([*CLAIMS, *KEY_OPTIONS])), values=own.text()
        ),
        dict,
        "'name' or a setting of KEYS, but 'sha256': path of a claim",
        "The claims with a caller's name, rights, limits, share and service tiers.",
        shown="{'name': 'sub'}",
    )
    admins: frozenset[str] = setting(
        own.Texts(), frozenset, "a list", "Values of the claim 'admin' that make an administrator."
    )
    models: frozenset[str] | None = setting(
        own.ModelNames(),
        None,
        "as in KEYS",
        "For callers whose token says nothing of models.",
        none=False,
        shown="['*']",
    )
    limits: Mapping[str, Any] = setting(
        fields.Nested(LimitsOfKeySchema),
        dict,
        "limits, 'share', 'fair_users', 'service_tier', 'service_tiers' as in KEYS",
        "For callers whose token says nothing of them.",
    )

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check that administrators are known by a claim, and name callers by `sub`."""
        if bool(data.get("admins")) != ("admin" in data.get("claims", {})):
            raise ValidationError(
                "needs both: the claim in ['claims']['admin'], and here the values of it that "
                "make an administrator",
                "admins",
            )
        return {**data, "claims": {"name": "sub", **data.get("claims", {})}}


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """``NOTIFY``: where soft limits that were reached are sent to, and how that is signed."""

    url: str = address(REQUIRED, "Where it is sent to.")
    secret: str = setting(
        fields.String(validate=own.webhook_secret),
        REQUIRED,
        "16 characters or more",
        "Signs the bodies as standardwebhooks.com says.",
        secret=True,
    )
    timeout: float = seconds(10.0, "Maximum time of connecting, and of each read.")


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """``METRICS``."""

    enabled: bool = flag(True, "Whether there is /metrics.")
    allowed: tuple[str, ...] = setting(
        own.Tuple(fields.String(validate=addresses.network)),
        LOOPBACK,
        "a list of networks",
        "Which read it without a key; others need the key of an administrator.",
    )


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """``TRACING``."""

    endpoint: str = address(REQUIRED, 'Of OTLP over HTTP: "http://collector:4318/v1/traces".')
    headers: Mapping[str, str] = setting(
        own.headers(), dict, "names and values", "Headers sent along.", secret=True
    )
    sample: float = number(
        1.0, 0, 1, "Share of the traces that begin here; a caller's `traceparent` has its own."
    )
    service: str = text("embeddings-proxy", "a name", "The name of this service in spans.")
    timeout: float = seconds(5.0, "Maximum time of sending spans; a stop waits as long.")

    @staticmethod
    def complete(data: dict[str, Any]) -> dict[str, Any]:
        """Check that the packages are there."""
        with suppress(ModuleNotFoundError):  # a package above it is not there
            if find_spec("opentelemetry.exporter.otlp.proto.http"):
                return data
        raise ValidationError("needs OpenTelemetry: pip install '.[tracing]'")
