"""Sessions of the console: signed tokens in a cookie, valid only as long as their key is.

A token never holds the key. It holds what the authenticator needs to find the key again: its name
and an HMAC of its SHA-256, or the claims of an OIDC token. With each request the authenticator
looks the key up again, so that a session ends when its key is revoked, rotated, expired, blocked or
used from another network. Nothing is stored on the server: any worker with the same secret takes
the token.

The secret is ``CONSOLE["secret"]``, or one that gunicorn's master made at its start
(`app.console.start`), which its workers share, also after a reload.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from app.auth.authenticator import Address, Authenticator
from app.console.start import SECRET_VARIABLE
from app.domain import Caller
from app.errors import BadRequest, Unauthorized

LIFETIME_S = 8 * 3600
#: Of a token, in bytes: browsers keep cookies of up to 4,096 bytes, attributes included.
MAX_TOKEN_LENGTH = 3800
_ENDED = "This session has ended. Log in again."


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is valid for this request."""

    caller: Caller  # as the key's settings are now
    csrf: str  # the token that forms and scripts send with a change
    ends: float  # in seconds since 1970
    id: str  # random; of no use without the signature
    address: Address | None = None  # the client's, where it is known

    @property
    def is_admin(self) -> bool:
        """Whether its key is an administrator's."""
        return self.caller.admin

    @property
    def actor(self) -> str:
        """The session's key as the audit log names it."""
        return f"key:{self.caller.name}"


class Sessions:
    """Begins sessions and checks them."""

    def __init__(
        self,
        authenticator: Authenticator,
        secret: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        given = secret or os.environ.get(SECRET_VARIABLE) or secrets.token_urlsafe(32)
        self._secret = given.encode()
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._sessions = URLSafeSerializer(given, "console.session", signer_kwargs=options)
        self._messages = URLSafeSerializer(given, "console.message", signer_kwargs=options)

    def begin(self, key: str, address: Address | None) -> tuple[str, float]:
        """Return the token of a new session, and when it ends, for a key or an OIDC token.

        Raises the errors of the authenticator, and `BadRequest` for claims that are too long.
        """
        caller, networks = self._authenticator.identify(key)
        self._authenticator.check(caller, networks, address)
        return self._begin({"key": self._authenticator.remember(key, self._seal)})

    def begin_as_operator(self, name: str, digest: bytes) -> tuple[str, float]:
        """Begin a session for the key of this name and SHA-256, with an administrator's rights."""
        remembered = {"name": name, "seal": self._seal(digest)}
        return self._begin({"key": remembered, "admin": True})

    def _begin(self, values: Mapping[str, Any]) -> tuple[str, float]:
        now = self._clock()
        ends = min(now + LIFETIME_S, float(values["key"].get("end", now + LIFETIME_S)))
        token = self._sessions.dumps({**values, "id": secrets.token_urlsafe(16), "ends": ends})
        if len(token) > MAX_TOKEN_LENGTH:
            raise BadRequest("The token's claims are too long for a session.")
        return str(token), ends

    def check(self, token: str, address: Address | None) -> Session:
        """Return the session of a token. Raises `Unauthorized` and others of the authenticator."""
        try:
            values = self._sessions.loads(token)
        except BadData as error:
            raise Unauthorized(_ENDED) from error
        if self._clock() >= values["ends"]:
            raise Unauthorized(_ENDED)
        caller, networks = self._authenticator.recall(values["key"], self._seal)
        self._authenticator.check(caller, networks, address)
        if values.get("admin"):
            caller = replace(caller, admin=True)
        return Session(caller, self._csrf(values["id"]), values["ends"], values["id"], address)

    def sign_message(self, text: str, failed: bool) -> str:
        """Return a message for the next page as a cookie can hold it."""
        return str(self._messages.dumps([text, failed]))

    def read_message(self, signed: str) -> tuple[str, bool] | None:
        """Return the message that `sign_message` signed; None if its signature is wrong."""
        try:
            text, failed = self._messages.loads(signed)
        except BadData:
            return None
        return str(text), bool(failed)

    def _csrf(self, session_id: str) -> str:
        return self._digest(b"csrf:" + session_id.encode())

    def _seal(self, digest: bytes) -> str:
        return self._digest(b"key:" + digest)

    def _digest(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()


def is_csrf_token(session: Session, given: str | None) -> bool:
    """Return whether a text is the session's CSRF token, in constant time."""
    return hmac.compare_digest(session.csrf.encode(), (given or "").encode())
