"""Makes the responses of the console: pages of templates, redirects, JSON, with their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from flask import Response, request

from app import __version__
from app.api.client import ClientAddresses
from app.console.page import Answer, Page, Redirect, Rendered
from app.console.sessions import Session, Sessions
from app.console.templating import StaticFiles, csrf_field, make_environment

SESSION_COOKIE, MESSAGE_COOKIE = "console_session", "console_message"
COOKIE_PATH = "/console"
MESSAGE_LIFETIME_S = 60
MAX_MESSAGE_LENGTH = 1000
#: Pages load nothing from and send nothing to other hosts; scripts and styles are never inline.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Responses:
    """Makes the response of what a view returns."""

    def __init__(
        self,
        pages: Sequence[Page],
        sessions: Sessions,
        addresses: ClientAddresses,
        static: StaticFiles,
    ) -> None:
        self._pages = pages
        self._sessions = sessions
        self._addresses = addresses
        self._static = static
        self._templates = make_environment()

    def make(self, answer: Answer, session: Session | None) -> Response:
        """Return the response of an answer; ``session`` None: the request has none."""
        if isinstance(answer, Rendered):
            return self._render(answer, session)
        if isinstance(answer, Redirect):
            return self._redirect(answer)
        if isinstance(answer, Response):
            return with_policy(answer)
        return with_policy(Response(orjson.dumps(answer), content_type="application/json"))

    def set_cookie(self, response: Response, name: str, value: str, max_age: int) -> None:
        """Set a cookie that no script can read, and that requests of other sites do not have."""
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=COOKIE_PATH,
            secure=self._addresses.uses_https(request.environ),
            httponly=True,
            samesite="Strict",
        )

    def _render(self, answer: Rendered, session: Session | None) -> Response:
        signed = request.cookies.get(MESSAGE_COOKIE)
        message = self._sessions.read_message(signed) if signed else None
        template = self._templates.get_template(answer.template)
        text = template.render(self._context(session, message), **answer.values)
        response = Response(text, answer.status, content_type="text/html; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"  # it may show a key, and shows usage
        if signed:
            self.set_cookie(response, MESSAGE_COOKIE, "", 0)
        return with_policy(response)

    def _context(
        self, session: Session | None, message: tuple[str, bool] | None
    ) -> Mapping[str, Any]:
        """Return what every template can use."""
        root = root_of(request.path)
        is_admin = session is not None and session.is_admin
        return {
            "session": session,
            "navigation": [
                page for page in self._pages if session and (is_admin or not page.admin_only)
            ],
            "current": request.path.removeprefix("/console").strip("/").partition("/")[0],
            "message": message,
            "link": partial(str.__add__, root),
            "static": partial(str.__add__, f"{root}static/{self._static.digest}/"),
            "csrf": lambda: csrf_field(session.csrf if session else ""),
            "version": __version__,
        }

    def _redirect(self, answer: Redirect) -> Response:
        headers = {"Location": root_of(request.path) + answer.path}
        response = Response(status=303, headers=headers)
        if answer.message:
            signed = self._sessions.sign_message(answer.message[:MAX_MESSAGE_LENGTH], answer.failed)
            self.set_cookie(response, MESSAGE_COOKIE, signed, MESSAGE_LIFETIME_S)
        return with_policy(response)


def root_of(path: str) -> str:
    """Return /console/ relative to a path, so that the pages work below a prefix, too."""
    return "../" * (path.count("/") - 1) + "console/"


def with_policy(response: Response) -> Response:
    """Add the headers that every response of the console has."""
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
