"""A Flask app without what the proxy does not use, which costs 15 % of a short request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter


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
