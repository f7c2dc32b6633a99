"""Log in with a key or an OIDC token, and log out."""

from __future__ import annotations

import re
import time

from flask import Response, request

from app.auth.authenticator import Address
from app.console.login.attempts import LoginAttempts
from app.console.page import redirect, render
from app.console.responses import SESSION_COOKIE, Responses
from app.console.sessions import Session, Sessions
from app.console.start import take_code
from app.errors import (
    ClientError,
    KeyBlocked,
    KeysUnavailable,
    NetworkNotAllowed,
    RateLimited,
    Unauthorized,
)
from app.exchange import EXCHANGE

MAX_LOGIN_BYTES = 32 * 1024
_SAFE_PATH = re.compile(r"[\w/.~-]+(\?[^\s\\]*)?")
_USED_CODE = "This link was used already, or is too old. Log in with a key."
_REFUSED = "This key is not known, or has ended."


class Login:
    """The views of /console/login and /console/logout."""

    def __init__(
        self,
        sessions: Sessions,
        responses: Responses,
        attempts: LoginAttempts | None = None,
        *,
        takes_tokens: bool = False,
        operator_key: tuple[str, bytes] | None = None,
    ) -> None:
        """``takes_tokens``: whether there is an identity provider, for the form's text.

        ``operator_key``: name and SHA-256 of the key that the code of ``make run`` stands for.
        """
        self._sessions = sessions
        self._takes_tokens = takes_tokens
        self._operator_key = operator_key
        self._responses = responses
        self._attempts = attempts or LoginAttempts()

    def form(self) -> Response:
        """Show the form, or begin a session with the code of ``make run``."""
        code = request.args.get("code")
        # The prefetch of a browser, and a HEAD, must not use the code up. Nor may another site have
        # its visitors try codes, until their address may not log in for a while.
        is_elsewhere = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        if not code or request.method != "GET" or "Sec-Purpose" in request.headers or is_elsewhere:
            return self._form("", 200)
        address: Address | None = request.environ[EXCHANGE].client
        if not self._attempts.wait_s(address) and self._operator_key and take_code(code):
            return self._begun(*self._sessions.begin_as_operator(*self._operator_key))
        self._attempts.count_failure(address)
        return self._refuse(Unauthorized(_USED_CODE), _USED_CODE)

    def log_in(self, given: str) -> Response:
        """Begin a session with a key or token, and go to the page that was asked for."""
        address: Address | None = request.environ[EXCHANGE].client
        wait_s = self._attempts.wait_s(address)
        if wait_s:
            error: ClientError = RateLimited("Too many attempts.", retry_after=wait_s)
            return self._refuse(error, f"Too many attempts. Try again in {wait_s:.0f} s.")
        key = given.strip()
        try:
            if not key:
                raise Unauthorized(_REFUSED)
            token, ends = self._sessions.begin(key, address)
        except Unauthorized as failure:
            self._attempts.count_failure(address)
            return self._refuse(failure, _REFUSED)
        except (KeyBlocked, NetworkNotAllowed, KeysUnavailable) as failure:
            return self._refuse(failure, failure.message)
        return self._begun(token, ends)

    def log_out(self, _: Session) -> Response:
        """End the session in this browser."""
        response = self._responses.make(redirect("login", "You have logged out."), None)
        self._responses.set_cookie(response, SESSION_COOKIE, "", 0)
        return response

    def _begun(self, token: str, ends: float) -> Response:
        response = self._responses.make(redirect(inside(request.args.get("next"))), None)
        left_s = max(0, int(ends - time.time()))
        self._responses.set_cookie(response, SESSION_COOKIE, token, left_s)
        return response

    def _refuse(self, error: ClientError, text: str) -> Response:
        request.environ[EXCHANGE].error = error
        response = self._form(text, error.status)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(int(error.retry_after) + 1)
        return response

    def _form(self, text: str, status: int) -> Response:
        following = inside(request.args.get("next"))
        values = {"error": text, "following": following, "takes_tokens": self._takes_tokens}
        return self._responses.make(render("login.html", status, **values), None)


def inside(path: str | None) -> str:
    """Return the path if it is one below /console, which a login may redirect to; else ""."""
    if path and _SAFE_PATH.fullmatch(path) and ".." not in path and not path.startswith("/"):
        return path
    return ""
