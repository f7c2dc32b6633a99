"""Settings of what a proxy can do without: the usage ledger, keys in its database, OIDC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UsageSettings:
    """``USAGE``. The two thresholds say what is unusual of one key or end user; None: nothing."""

    url: str = field(repr=False)  # may hold a password
    spool: str
    spool_bytes: int = 2**30  # of one worker
    retention_days: int | None = 400
    keys: bool = False  # the table of keys is asked too
    requests_per_hour: int | None = None
    tokens_per_hour: int | None = None


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """``OIDC``: whose tokens are taken, and what their claims say of the caller."""

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str = field(repr=False)  # may hold a password
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    leeway: float = 30.0  # seconds by which clocks may differ
    refresh: float = 300.0  # seconds between looks at the JWKS
    claims: Mapping[str, str] = field(default_factory=dict)  # what of a caller → claim's path
    admins: frozenset[str] = frozenset()  # values of the claim "admin" that make one
    models: frozenset[str] | None = None  # without a claim; None: every model
    limits: Mapping[str, float] = field(default_factory=dict)  # as in KEYS; without a claim


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """``NOTIFY``: where soft limits that were reached are sent to, and how that is signed."""

    url: str = field(repr=False)  # may hold a password
    secret: str = field(repr=False)
    timeout: float = 10.0  # seconds, of the connect and of each read
