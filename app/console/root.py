"""``GET /``: sends a browser to the console, and tells a client where the API is."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response, request

from app.config import Settings


def root(settings: Settings) -> Blueprint:
    """Return the route."""
    places = {"object": "service", "api": "/v1", "embeddings": "/v1/embeddings"}
    if settings.docs.enabled:
        places |= {"docs": "/docs", "openapi": "/openapi.json"}
    if settings.console.enabled:
        places["console"] = "/console"
    body = orjson.dumps(places)

    def index() -> Response:
        accepts_html = "text/html" in request.headers.get("Accept", "")
        if settings.console.enabled and accepts_html:
            response = Response(status=302, headers={"Location": "console"})
        else:
            response = Response(body, content_type="application/json")
        response.headers["Vary"] = "Accept"
        return response

    blueprint = Blueprint("root", __name__)
    blueprint.add_url_rule("/", view_func=index, methods=["GET"])
    return blueprint
