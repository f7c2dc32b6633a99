"""The Flask app, without what the proxy does not use, and its hooks of every request.

The hooks make the `Exchange` of a request, call observers, and turn errors into responses. What is
left out of Flask costs 15 % of a short request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask, Request, Response, request
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import MapAdapter

from app import errors
from app.api.answers import PrebuiltResponse, error_response
from app.api.client import ClientAddresses
from app.errors import ClientError, shown
from app.exchange import EXCHANGE, WAITED_S, Exchange, Observer, StartObserver, request_id

_log = logging.getLogger("app.errors")
MAX_METHOD_SHOWN = 32  # characters of a method in an error message
MAX_PATH_SHOWN = 128  # characters of a path in an error message
_COMMON_HEADERS = ("cache-control", "no-store"), ("x-content-type-options", "nosniff")


class Proxy(Flask):
    """Flask without sessions, static files, redirects, async views and URL building.

    Of Flask's hooks it calls those that are registered with the app, before and after a request.
    Blueprints have none, and nothing is registered for a teardown (a test holds that).
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False  # SDKs do not follow redirects
        self.session_interface = _NoSessions()
        self._matched: dict[tuple[str, str], Any] = {}  # (method, path) → the match

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function unchanged: no view is a coroutine."""
        return func

    def preprocess_request(self, *_: Any) -> Any:
        """Call the app's own hooks."""
        for function in self.before_request_funcs.get(None, ()):
            result = function()
            if result is not None:
                return result
        return None

    def process_response(self, *args: Any) -> Response:
        """Call the app's own hooks with the response, the last argument."""
        response: Response = args[-1]
        for function in reversed(self.after_request_funcs.get(None, ())):
            response = function(response)
        return response

    def do_teardown_request(self, *_: Any) -> None:
        """Do nothing."""

    def do_teardown_appcontext(self, *_: Any) -> None:
        """Do nothing."""

    def make_default_options_response(self) -> Response:
        """Answer ``OPTIONS`` with the methods of the path, without a body."""
        response = super().make_default_options_response()
        response.status_code = 204
        response.headers["Allow"] = ", ".join(sorted(response.allow))
        del response.headers["Content-Type"]
        return response

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return an adapter that matches by method and path alone, without parsing ``Host``."""
        if request is None:
            return None
        # One slash in front, as werkzeug matches it. Of none, as in ``GET http://host``, it would
        # make a redirect; paths that differ only in their number would fill the cache of matches.
        path = "/" + request.environ.get("PATH_INFO", "").lstrip("/")
        if not path.isascii():  # WSGI decodes the bytes as Latin-1 (PEP 3333)
            path = path.encode("latin-1").decode("utf-8", "replace")
        return _Adapter(self._matched, self.url_map, "", "/", "", "http", path, request.method)


class _Adapter(MapAdapter):
    """Caches matches of paths without variables: a few for each URL rule."""

    def __init__(self, matched: dict[tuple[str, str], Any], *args: Any) -> None:
        super().__init__(*args)
        self._matched = matched

    def match(self, *args: Any, **kwargs: Any) -> Any:
        if args or "method" in kwargs:  # a look-up of the methods that a path allows
            return super().match(*args, **kwargs)
        key = self.default_method, self.path_info
        match = self._matched.get(key)
        if match is None:
            match = super().match(*args, **kwargs)
            if not match[1]:  # the path's variables
                self._matched[key] = match
        return match


class _NoSessions(SessionInterface):
    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._session


def install_hooks(
    app: Flask,
    observers: Sequence[Observer],
    start_observers: Sequence[StartObserver] = (),
    addresses: ClientAddresses | None = None,
) -> None:
    """Add the hooks to an app; observers are called in the order given."""
    find_client = (addresses or ClientAddresses()).find

    def begin() -> None:
        # The request itself: each attribute read through the LocalProxy would look it up again.
        current = request._get_current_object()  # type: ignore[attr-defined]  # of a LocalProxy
        environ, rule = current.environ, current.url_rule
        exchange = environ[EXCHANGE] = Exchange(
            request_id(environ.get("HTTP_X_REQUEST_ID")), current.method, current.path
        )
        exchange.started -= environ.get(WAITED_S, 0.0)
        exchange.client = find_client(environ)
        if rule is not None:
            exchange.route, exchange.rule = rule.endpoint, rule.rule
        for start_observer in start_observers:
            start_observer.started(exchange, environ)

    def end(response: Response) -> Response:
        exchange: Exchange = request.environ[EXCHANGE]
        added = [("x-request-id", exchange.id), *_COMMON_HEADERS]
        if exchange.space:
            added.append(("x-proxy-space", exchange.space))
        if exchange.grant is not None:
            added += exchange.grant.headers.items()
        if isinstance(response, PrebuiltResponse):
            response.header_list += added
        else:
            headers = response.headers
            # A view's own header has precedence: static pages set another Cache-Control.
            headers.extend(pair for pair in added if pair[0] not in headers)
        exchange.seconds = exchange.elapsed()
        for observer in observers:
            observer.finished(exchange, response.status_code)
        return response

    app.before_request(begin)
    app.after_request(end)
    app.register_error_handler(ClientError, _respond)
    app.register_error_handler(HTTPException, _translate)
    app.register_error_handler(Exception, _respond_to_bug)


def _respond(error: ClientError) -> Response:
    request.environ[EXCHANGE].error = error
    errors.drop_tracebacks(error)
    return error_response(error)


def _translate(error: HTTPException) -> Response:
    """Turn an error of werkzeug into a response in OpenAI's format."""
    errors.drop_tracebacks(error)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        response = _respond(
            errors.MethodNotAllowed(f"Not allowed to {_shown_target(' on ')}. (Allowed: {allowed})")
        )
        response.headers["Allow"] = allowed
        return response
    if error.code == 404:
        return _respond(errors.NotFound(f"Invalid URL ({_shown_target()})"))
    if error.code is not None and 400 <= error.code < 500:
        return _respond(errors.BadRequest("The request could not be read."))
    return _respond_to_bug(error)


def _shown_target(between: str = " ") -> str:
    """Return method and path of the request, shortened for a message."""
    return (
        f"{shown(request.method, MAX_METHOD_SHOWN)}{between}{shown(request.path, MAX_PATH_SHOWN)}"
    )


def _respond_to_bug(error: Exception) -> Response:
    """Log the traceback, and answer 500 without details: they may hold secrets."""
    _log.error("request %s failed by a bug", request.environ[EXCHANGE].id, exc_info=error)
    errors.drop_tracebacks(error)
    return _respond(errors.InternalError("The server had an error while processing your request."))
