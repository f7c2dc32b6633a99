"""Errors of a caller's access: its key, what the key may do, and its limits."""

from __future__ import annotations

from typing import Any

from app.errors.base import ClientError, Scope


class Unauthorized(ClientError, status=401, code="invalid_api_key", scopes=(Scope.KEY,)):
    """The key is missing or unknown. A retry cannot help."""


class ModelNotAllowed(ClientError, status=403, code="model_not_allowed"):
    """The key may not use the model. A retry cannot help."""


class ServiceTierNotAllowed(ClientError, status=403, code="service_tier_not_allowed"):
    """The key may not ask for the service tier. A retry cannot help."""


class AdminOnly(ClientError, status=403, code="admin_required", scopes=(Scope.ADMIN,)):
    """The key is not an administrator's. A retry cannot help."""


class CsrfTokenWrong(ClientError, status=403, code="csrf_token_wrong", scopes=(Scope.CONSOLE,)):
    """A change in the console came without the token of its session. Load the page again."""


class KeyBlocked(ClientError, status=403, code="key_blocked", scopes=(Scope.KEY,)):
    """The key is blocked, at run time or by ``BLOCKED_KEYS``. A retry cannot help."""


class UserBlocked(ClientError, status=403, code="user_blocked"):
    """The end user is blocked, at run time or by ``BLOCKED_USERS``. A retry cannot help."""


class NetworkNotAllowed(ClientError, status=403, code="network_not_allowed", scopes=(Scope.KEY,)):
    """The key is bound to other networks. A retry cannot help."""


class RateLimited(ClientError, status=429, code="rate_limit_exceeded"):
    """A limit of the key is reached, or every provider answered 429.

    A retry helps after ``retry_after``. ``type`` is ``requests`` or ``tokens``, as OpenAI's: what
    the limit counts.
    """

    #: All values of ``type``.
    types = ("requests", "tokens")

    def __init__(self, message: str, *, type: str = "requests", **kwargs: Any) -> None:  # noqa: A002 - OpenAI's
        super().__init__(message, **kwargs)
        self.type = type


class QuotaExhausted(
    ClientError,
    status=429,
    code="insufficient_quota",
    type="insufficient_quota",
    should_retry=False,
):
    """A quota of a day or a month, or a budget, is used up. A retry cannot help before it resets.

    The status, type and code are OpenAI's for an account without credit.
    """


class KeysUnavailable(ClientError, status=503, code="keys_unavailable", scopes=(Scope.KEY,)):
    """The database or identity provider that knows the key does not answer. A retry may help."""


class LimitsUnavailable(ClientError, status=503, code="usage_unavailable"):
    """The server that counts usage does not answer, and ``LIMITS["when_away"]`` is "refuse".

    A retry may help.
    """
