"""Refusals of step 2 beside a wrong key. A retry helps with none but `KeysUnavailable`."""

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
