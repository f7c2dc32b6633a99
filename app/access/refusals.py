"""Refusals of steps 2 and 4. A retry helps with those that something is unavailable, no other."""

from __future__ import annotations

from app.errors import ClientError


class KeyBlocked(ClientError):
    """Named in ``BLOCKED_KEYS``."""

    status = 403
    code = "key_blocked"
    type = "invalid_request_error"


class UserBlocked(ClientError):
    """Named in ``BLOCKED_USERS``."""

    status = 403
    code = "user_blocked"
    type = "invalid_request_error"


class NetworkNotAllowed(ClientError):
    """The key is bound to other networks."""

    status = 403
    code = "network_not_allowed"
    type = "invalid_request_error"


class KeysUnavailable(ClientError):
    """Nobody knows whether the key is good: its database or identity provider does not answer."""

    status = 503
    code = "keys_unavailable"


class LimitsUnavailable(ClientError):
    """The server that counts is away, and ``LIMITS["when_away"]`` is "refuse"."""

    status = 503
    code = "usage_unavailable"
