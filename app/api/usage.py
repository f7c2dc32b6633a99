"""``GET /v1/usage``: what a key has used; an administrator's key sees all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.domain import Caller
from app.errors import BadRequest, UsageUnavailable, shown
from app.usage.database import Unavailable
from app.usage.report import dimensions, milliseconds, moment, readable
from app.usage.store import Store, Unusual

_SINCE = "7d"
_MOST_ROWS = 10_000


class UsageApi:
    """The handler. ``identify`` says who asks."""

    def __init__(self, store: Store, unusual: Unusual, identify: Callable[[], Caller]) -> None:
        self._store = store
        self._unusual = unusual
        self._identify = identify

    def blueprint(self) -> Blueprint:
        api = Blueprint("usage", __name__)
        for path in ("/v1/usage", "/usage"):
            api.add_url_rule(path, view_func=self.usage, methods=["GET"], strict_slashes=False)
        return api

    def usage(self) -> Response:
        caller = self._identify()
        now = datetime.now(UTC)
        since = _parsed("since", lambda text: moment(text, now), _SINCE)
        until = _parsed("until", lambda text: moment(text, now), now.isoformat())
        by = _parsed("by", dimensions, "key,model" if caller.admin else "model")
        try:
            rows = self._store.report(
                by,
                milliseconds(since),
                milliseconds(until) + 1,
                None if caller.admin else caller.name,
                self._unusual,
                _MOST_ROWS,
            )
        except Unavailable as error:
            raise UsageUnavailable("The usage cannot be read now. Try again.") from error
        payload = {
            "object": "list",
            "since": since.isoformat(),
            "until": until.isoformat(),
            "data": [readable(row) for row in rows],
        }
        return Response(orjson.dumps(payload), content_type="application/json")


def _parsed(name: str, parse: Callable[[str], Any], default: str) -> Any:
    try:
        return parse(request.args.get(name) or default)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"Invalid value for '{name}': {shown(error, 200)}.", param=name) from error
