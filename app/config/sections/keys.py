"""``KEYS``: the keys of callers, with the models and the limits of each."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import ValidationError, fields, validate

from app.config import fields as own
from app.config.sections.declaration import (
    REQUIRED,
    choice,
    count,
    declared,
    flag,
    positive,
    proportion,
    setting,
)
from app.domain import TIERS, USUAL_TIERS, Tier


@dataclass(frozen=True, slots=True)
class KeySettings:
    """One of ``KEYS``. Each limit is None where there is none.

    The name of a limit says its unit and its period, and ``user_`` that it is one of each end user
    (`app.limits.rules.parse_limit`); only ``concurrent_requests`` has no period. A new limit is a
    field of this class, the last one before ``warn_at``, and of `app.domain.Caller`.
    The order must not change: the counters in Redis are numbered by it, so that another order would
    mix the counters of keys in use.
    """

    name: str
    sha256: str = setting(
        own.Digest(), REQUIRED, "64 hex digits", "Of the key. Never the key itself."
    )
    models: frozenset[str] | None = setting(
        own.ModelNames(),
        None,
        "a list of names in MODELS; '*': every model",
        "Models that it may use.",
        none=False,
        shown="['*']",
    )
    admin: bool = flag(
        False,
        "Whether it may see the state of providers, metrics and all of the console, and make and "
        "change keys and blocks there.",
    )
    requests_per_minute: int | None = count(None, "Requests in any 60 seconds.")
    tokens_per_minute: int | None = count(None, "Tokens in any 60 seconds.")
    tokens_per_day: int | None = count(None, "Tokens in a calendar day of LIMITS['timezone'].")
    tokens_per_month: int | None = count(None, "Tokens in a calendar month.")
    dollars_per_month: float | None = positive(
        None, 1e6, "Dollars in a calendar month, by the price_per_million_tokens of deployments."
    )
    user_requests_per_minute: int | None = count(
        None, "Requests in any 60 seconds of each end user (the field `user`) of the key."
    )
    user_tokens_per_minute: int | None = count(
        None, "Tokens in any 60 seconds of each end user of the key."
    )
    concurrent_requests: int | None = count(
        None, "Requests at the same time, of all workers together (see LIMITS)."
    )
    warn_at: float | None = positive(
        None,
        1,
        "Share of each limit of a day or a month at which operators are warned, once a period: by "
        "a log line, a metric and, with NOTIFY, a webhook.",
    )
    share: float = proportion(
        "Its weight where calls queue for a provider: of two keys of one tier, the one with twice "
        "the share gets twice the tokens.",
    )
    fair_users: bool = flag(
        False, "Whether its end users (the field `user`) divide its share evenly."
    )
    service_tier: Tier = choice(
        "default", list(TIERS), "The tier of its requests that ask for none, or for 'auto'."
    )
    service_tiers: frozenset[Tier] = setting(
        own.Texts(fields.String(validate=validate.OneOf(TIERS))),
        USUAL_TIERS,
        "a list of 'priority', 'default', 'flex'",
        "Tiers that its requests may ask for; its own is always among them.",
        shown="['default', 'flex']",
    )


#: What a key says of the queues of providers.
KEY_QUEUEING = ("share", "fair_users", "service_tier", "service_tiers")
#: The limits that a key can have, and ``warn_at``.
KEY_LIMITS = tuple(
    name
    for name in declared(KeySettings)
    if name not in ("sha256", "models", "admin", *KEY_QUEUEING)
)
#: What rows of the table of keys, and OIDC["limits"] and claims, can say besides models and admin.
KEY_OPTIONS = (*KEY_LIMITS, *KEY_QUEUEING)


def check_name(name: object) -> None:
    """Raise ValueError if this may not be the name of a key."""
    try:
        own.text(own.key_name).deserialize(name)
    except ValidationError as error:
        raise ValueError(f"the name {name!r:.100} {' '.join(error.messages)}") from error
