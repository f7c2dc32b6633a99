"""``GET /openapi.json`` and ``GET /docs``: the OpenAPI document and Swagger UI, without a key.

The page loads nothing from other hosts: the package flask-swagger-ui, released weekly with
Swagger UI, contains its files. That package and apispec are imported only at the first request.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, current_app, request

from app.config import Settings
from app.errors import NotFound

_STATIC = Path(__file__).parents[1] / "static"
_FILES = {
    "start.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
#: Loads nothing from and sends nothing to other hosts, because users type a key into this page.
#: Swagger UI needs inline styles and data: images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MAX_AGE_S = 24 * 3600


class Docs:
    """The views. The OpenAPI document is built once, at the first request for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._document: bytes | None = None

    def blueprint(self) -> Blueprint:
        """Return the routes; none if ``DOCS`` disables them, so that they answer 404."""
        docs = Blueprint("docs", __name__)
        if not self._settings.docs.enabled:
            return docs
        for path, view in (
            ("/openapi.json", self.openapi),
            ("/docs", self.docs),
            ("/docs/<name>", self.part),
        ):
            docs.add_url_rule(path, view_func=view, methods=["GET"], strict_slashes=False)
        return docs

    def openapi(self) -> Response:
        if self._document is None:
            import orjson

            from app.console.api_docs.openapi import document

            self._document = orjson.dumps(document(current_app, self._settings))
        return _guarded(Response(self._document, content_type="application/json"))

    def docs(self) -> Response:
        if request.path.endswith("/"):
            # The page refers to its files by relative paths, so that it works below a prefix. The
            # redirect is relative for the same reason.
            return _guarded(Response(status=308, headers={"Location": "../docs"}))
        page = (_STATIC / "docs.html").read_bytes()
        return _guarded(Response(page, content_type="text/html; charset=utf-8"))

    def part(self, name: str) -> Response:
        """Serve a file of the page."""
        if name not in _FILES:
            raise NotFound(f"Invalid URL (GET /docs/{name})")
        place = _STATIC if name == "start.js" else _bundle()
        response = Response((place / name).read_bytes(), content_type=_FILES[name])
        response.cache_control.max_age = MAX_AGE_S
        response.add_etag()
        response.make_conditional(request)
        return _guarded(response)


def _bundle() -> Path:
    found = find_spec("flask_swagger_ui")  # which imports nothing
    if found is None or not found.submodule_search_locations:
        raise NotFound("The page needs the package flask-swagger-ui.")
    return Path(found.submodule_search_locations[0]) / "dist"


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
