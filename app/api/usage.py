"""``GET /v1/usage``: the usage of the caller's key, or of all keys for administrators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from flask import Blueprint, Response, request

from app.domain import Caller
from app.errors import BadRequest, shown
from app.usage.reports.report import dimensions, milliseconds, moment, readable, time_zone
from app.usage.reports.reporter import Reporter
from app.usage.store.queries import ReportQuery, VolumeLimits

DEFAULT_SINCE = "7d"


class UsageApi:
    """The handler of ``GET /v1/usage``. ``identify`` returns the caller of the current request."""

    def __init__(
        self, reporter: Reporter, unusual: VolumeLimits, identify: Callable[[], Caller]
    ) -> None:
        self._reporter = reporter
        self._unusual = unusual
        self._identify = identify

    def blueprint(self) -> Blueprint:
        api = Blueprint("usage", __name__)
        for path in ("/v1/usage", "/usage"):
            api.add_url_rule(path, view_func=self.usage, methods=["GET"], strict_slashes=False)
        return api

    def usage(self) -> Response:
        caller = self._identify()
        zone = _parsed("timezone", time_zone, "UTC")
        now = datetime.now(zone)
        since = _parsed("since", lambda text: moment(text, now), DEFAULT_SINCE)
        until = _parsed("until", lambda text: moment(text, now), now.isoformat())
        by = _parsed("by", dimensions, "key,model" if caller.admin else "model")
        key = None if caller.admin else caller.name
        times = milliseconds(since), milliseconds(until) + 1
        rows = self._reporter.report(
            caller.name, ReportQuery(by, *times, key=key, unusual=self._unusual, zone=zone)
        )
        payload = {
            "object": "list",
            "since": since.isoformat(),
            "until": until.isoformat(),
            "data": [readable(row, zone) for row in rows],
        }
        return Response(orjson.dumps(payload), content_type="application/json")


def _parsed(name: str, parse: Callable[[str], Any], default: str) -> Any:
    try:
        return parse(request.args.get(name) or default)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"Invalid value for '{name}': {shown(error, 200)}.", param=name) from error
