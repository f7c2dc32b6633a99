"""The page Now: the figures of all workers, and each model with its deployments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import request

from app.console.live.values import LiveValues
from app.console.page import Answer, Page, render
from app.console.sessions import Session
from app.errors import BadRequest, shown

if TYPE_CHECKING:
    from app.observability.live.observer import Live


def now_page(live: Live, spent_today: Callable[[], float | None] | None) -> Page:
    """Return the page, for administrators.

    ``spent_today`` returns what the ledger has of all hosts, in dollars, or None where it is not
    known now; it is None without a ledger.
    """
    page = Page("now", "Now", admin_only=True)

    def figures(since: float) -> dict[str, Any]:
        found = live.now(since)
        dollars = spent_today() if spent_today is not None else None
        if dollars is not None:
            found["figures"] |= {"spent_today_dollars": dollars, "spent_today_from": "ledger"}
        return found

    @page.get()
    def now(_: Session) -> Answer:
        found = figures(0.0)
        return render("now.html", now=found, live=LiveValues(found))

    @page.api("now")
    def for_script(_: Session) -> Answer:
        """Return the figures of all workers, and the state of each deployment."""
        return figures(_since(request.args.get("since", "")))

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
