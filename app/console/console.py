"""The console's routes: finds the session of a request, calls the view, makes the response."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.client import ClientAddresses
from app.auth.authenticator import Authenticator
from app.config import Settings
from app.console.login.login import MAX_LOGIN_BYTES, Login, inside
from app.console.page import ORDER, Answer, Page, Route, redirect, render
from app.console.responses import SESSION_COOKIE, Responses, with_policy
from app.console.sessions import Session, Sessions, is_csrf_token
from app.console.templating import StaticFiles
from app.errors import (
    AdminOnly,
    BadRequest,
    BodyTooLarge,
    ClientError,
    CsrfTokenWrong,
    NotFound,
    Unauthorized,
    drop_tracebacks,
    shown,
)
from app.exchange import EXCHANGE

STATIC_MAX_AGE_S = 365 * 24 * 3600
_TOO_LARGE = "The form is too large."


class Console:
    """The pages behind a login. `app.console.page` says how one is made."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        addresses: ClientAddresses,
        pages: Sequence[Page] = (),
    ) -> None:
        self._is_enabled = settings.console.enabled
        self._pages = sorted(pages, key=_place)
        self._static = StaticFiles()
        self._sessions = Sessions(authenticator, settings.console.secret)
        self._responses = Responses(self._pages, self._sessions, addresses, self._static)
        first = next(iter(settings.keys.values()), None)
        self._login = Login(
            self._sessions,
            self._responses,
            takes_tokens=settings.oidc is not None,
            operator_key=(first.name, bytes.fromhex(first.sha256)) if first else None,
        )

    def blueprint(self) -> Blueprint:
        """Return the routes; none if ``CONSOLE`` disables them, so that they answer 404."""
        console = Blueprint("console", __name__)
        if not self._is_enabled:
            return console

        def add(path: str, name: str, method: str, view: Callable[..., Response]) -> None:
            endpoint = f"console_{name}"
            console.add_url_rule(path, endpoint, view, methods=[method], strict_slashes=False)

        add("/console", "home", "GET", self._view(Route("", "GET", self._home)))
        add("/console/login", "login", "GET", self._log_in_form)
        add("/console/login", "log_in", "POST", self._log_in)
        add(
            "/console/logout", "log_out", "POST", self._view(Route("", "POST", self._login.log_out))
        )
        add("/console/static/<digest>/<path:name>", "static", "GET", self._static_file)
        add("/console/<path:path>", "unknown", "GET", self._view(Route("", "GET", _unknown)))
        for route in (route for page in self._pages for route in page.routes):
            name = re.sub(r"\W+", "_", re.sub(r"<(?:\w+:)?|>", "", route.path))
            suffix = "" if route.method == "GET" else f"_{route.method.lower()}"
            add(f"/console/{route.path}", name + suffix, route.method, self._view(route))
        return console

    def _view(self, route: Route) -> Callable[..., Response]:
        """Return Flask's view of a route: with the checks that are the same for all."""

        def view(**variables: Any) -> Response:
            session = None
            try:
                session = self._session()
                request.environ[EXCHANGE].caller = session.caller
                if route.admin_only and not session.is_admin:
                    raise AdminOnly('This key may not see that: "admin" is not set for it.')
                if route.method != "GET":
                    _check_change(session, route.max_bytes)
                return self._responses.make(route.view(session, **variables), session)
            except (ClientError, RequestEntityTooLarge) as caught:
                error = caught if isinstance(caught, ClientError) else BodyTooLarge(_TOO_LARGE)
                if route.is_api or _asks_for_json():
                    raise error from None  # the app answers with JSON
                return self._failed(error, session)

        view.__doc__ = route.view.__doc__
        return view

    def _session(self) -> Session:
        token = request.cookies.get(SESSION_COOKIE)
        if not token:
            raise Unauthorized("Log in at /console/login.")
        return self._sessions.check(token, request.environ[EXCHANGE].client)

    def _failed(self, error: ClientError, session: Session | None) -> Response:
        """Answer with a page that says what is wrong; without a session, redirect to the login."""
        request.environ[EXCHANGE].error = error
        drop_tracebacks(error)
        if session is None and isinstance(error, Unauthorized):
            return self._responses.make(_to_login(), None)
        page = render("error.html", error.status, text=error.message, code=error.code)
        response = self._responses.make(page, session)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(int(error.retry_after) + 1)
        return response

    def _log_in_form(self) -> Response:
        """Show the form; with a session, redirect to the page that was asked for."""
        try:
            session = self._session()
        except ClientError:
            return self._login.form()
        return self._responses.make(redirect(inside(request.args.get("next"))), session)

    def _log_in(self) -> Response:
        try:
            _check_site()
            _bound_body(MAX_LOGIN_BYTES)
            return self._login.log_in(_field("key") or "")
        except ClientError as error:
            return self._failed(error, None)

    def _home(self, session: Session) -> Answer:
        """Redirect to the first page that the session may see."""
        seen = [page for page in self._pages if session.is_admin or not page.admin_only]
        return redirect(seen[0].name) if seen else render("home.html")

    def _static_file(self, digest: str, name: str) -> Response:
        """Serve a file of ``static/``."""
        found = self._static.files.get(name)
        if found is None:
            raise NotFound(f"Invalid URL (GET {shown(request.path)})")
        response = Response(found[0], content_type=found[1])
        if digest == self._static.digest:  # else it is of another version of the proxy
            response.cache_control.public = response.cache_control.immutable = True
            response.cache_control.max_age = STATIC_MAX_AGE_S
        return with_policy(response)


def _place(page: Page) -> int:
    return ORDER.index(page.name) if page.name in ORDER else len(ORDER)


def _unknown(_: Session, path: str) -> Answer:
    raise NotFound(f"There is no page {shown(path)}.")


def _asks_for_json() -> bool:
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _to_login() -> Answer:
    """Redirect to the login, which redirects to the page that was asked for.

    Where a user has followed a link on another site, the browser has sent no cookie that is
    SameSite=Strict. Then a page of this site asks for the login, so that the browser sends the
    cookie, and the login sees whether there is a session.
    """
    asked = request.full_path.removeprefix("/console").lstrip("/").rstrip("?")
    path = f"login?next={quote(asked)}" if asked and request.method == "GET" else "login"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return render("continue.html", path=path)
    return redirect(path)


def _check_change(session: Session, max_bytes: int) -> None:
    """Refuse a change that does not come from a page of this session. Raises `CsrfTokenWrong`."""
    _check_site()
    _bound_body(max_bytes)
    given = request.headers.get("x-csrf-token") or _field("csrf")
    if not is_csrf_token(session, given):
        raise CsrfTokenWrong("This form is too old. Load the page again.")


def _check_site() -> None:
    """Refuse a form that another site has sent, by a header that old browsers do not send."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise CsrfTokenWrong("Another site has sent this form.")


def _bound_body(max_bytes: int) -> None:
    """Let a longer body be refused. Raises `BadRequest` for one whose length is not given.

    Of that, werkzeug would read the beginning: fields of a form would be missing.
    """
    if request.content_length is None and "Transfer-Encoding" in request.headers:
        raise BadRequest("Send the form with its length, in the header Content-Length.")
    request.max_content_length = request.max_form_memory_size = max_bytes


def _field(name: str) -> str | None:
    """Return a field of the form. Raises `BodyTooLarge`."""
    try:
        return request.form.get(name)
    except RequestEntityTooLarge as error:
        raise BodyTooLarge(_TOO_LARGE) from error
