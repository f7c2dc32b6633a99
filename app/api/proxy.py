"""Flask, without what an API like this has no use for: a tenth of a short request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter


class Proxy(Flask):
    """An app without sessions, static files, redirects, coroutines or addresses to be built."""

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False  # SDKs do not follow redirects
        self.session_interface = _NoSessions()
        self._matched: dict[tuple[str, str], Any] = {}

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def make_default_options_response(self) -> Response:
        """Answer ``OPTIONS`` with the methods that the path has, and without a body."""
        response = super().make_default_options_response()
        response.status_code = 204
        response.headers["Allow"] = ", ".join(sorted(response.allow))
        del response.headers["Content-Type"]
        return response

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Matches paths; the ``Host`` header, which Flask would parse twice, decides nothing."""
        if request is None:
            return None
        path: str = request.environ.get("PATH_INFO", "")
        if not path.isascii():  # WSGI hands bytes over as if they were Latin-1 (PEP 3333)
            path = path.encode("latin-1").decode("utf-8", "replace")
        return _Adapter(self._matched, self.url_map, "", "/", "", "http", path, request.method)


class _Adapter(MapAdapter):
    """Remembers what matched a path without variables, of which there are no more than rules."""

    def __init__(self, matched: dict[tuple[str, str], Any], *args: Any) -> None:
        super().__init__(*args)
        self._matched = matched

    def match(self, *args: Any, **kwargs: Any) -> Any:
        if args or "method" in kwargs:  # the look-up of the methods that a path has
            return super().match(*args, **kwargs)
        place = self.default_method, self.path_info
        found = self._matched.get(place)
        if found is None:
            found = super().match(*args, **kwargs)
            if not found[1]:  # its variables
                self._matched[place] = found
        return found


class _NoSessions(SessionInterface):
    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._session
