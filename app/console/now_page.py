"""The page Now: the figures of all workers, and each model with its deployments."""

from __future__ import annotations

import math

from flask import request

from app.console.page import Answer, Page
from app.console.sessions import Session
from app.errors import BadRequest, shown
from app.observability.live.observer import Live


def now_page(live: Live) -> Page:
    """Return the page, for administrators."""
    page = Page("now", "Now", admin_only=True)

    @page.api("now")
    def figures(_: Session) -> Answer:
        """Return the figures of all workers, and the state of each deployment."""
        return live.now(_since(request.args.get("since", "")))

    return page


def _since(text: str) -> float:
    """Return the first moment of the series, in seconds since 1970. Raises `BadRequest`."""
    try:
        since = float(text or 0)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise BadRequest(f"Invalid value for 'since': {shown(text, 40)}.", param="since")
    return since
