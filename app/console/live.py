"""``GET /console/api/now`` and ``GET /console/api/requests/ID``: what the pages show, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.domain import Caller
from app.errors import BadRequest, NotFound, shown
from app.observability.live.observer import Live

MAX_ID_SHOWN = 128  # characters of a request's id in an error message


class LiveApi:
    """The views. ``caller`` returns the caller of the current request; ``require_admin`` raises
    unless that is an administrator."""

    def __init__(
        self, live: Live, caller: Callable[[], Caller], require_admin: Callable[[], None]
    ) -> None:
        self._live = live
        self._caller = caller
        self._require_admin = require_admin

    def blueprint(self) -> Blueprint:
        api = Blueprint("live", __name__)
        api.add_url_rule("/console/api/now", view_func=self.now, methods=["GET"])
        path = "/console/api/requests/<path:request_id>"
        api.add_url_rule(path, view_func=self.request, methods=["GET"])
        return api

    def now(self) -> Response:
        """Return the figures of all workers, and the state of each deployment."""
        self._require_admin()
        return _json(self._live.now(_since(request.args.get("since", ""))))

    def request(self, request_id: str) -> Response:
        """Return what happened to a request, of the caller's key or for administrators."""
        caller = self._caller()
        found = self._live.find(request_id, None if caller.admin else caller.name)
        if not found["data"]:
            raise NotFound(
                f"The request {shown(request_id, MAX_ID_SHOWN)} is not known (any more)."
            )
        return _json(found)


def _since(text: str) -> float:
    """Return the first moment of the series, in seconds since 1970. Raises `BadRequest`."""
    try:
        since = float(text or 0)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise BadRequest(f"Invalid value for 'since': {shown(text, 40)}.", param="since")
    return since


def _json(payload: dict[str, Any]) -> Response:
    return Response(orjson.dumps(payload), content_type="application/json")
