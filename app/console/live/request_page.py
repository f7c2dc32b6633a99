"""The page Request: what happened to a request, step by step, and a list of the last requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from app.console.live.waterfall import KINDS, REASONS, drawn
from app.console.page import Answer, Page, render
from app.console.sessions import Session
from app.errors import BadRequest, NotFound, shown
from app.observability.live.lists import MAX_ROWS, SHOWS, Show

if TYPE_CHECKING:
    from app.observability.live.observer import Live

MAX_ID_LENGTH = 128  # characters of a request's id: app.exchange
#: Errors of which the list says that the request failed, in red: of others the caller knows why.
OUR_SIDES = ("provider", "dependency", "proxy")


def request_page(live: Live) -> Page:
    """Return the page: a key sees its own requests, an administrator all."""
    page = Page("request", "Request")

    @page.get()
    def one(session: Session) -> Answer:
        """Show the requests with the id of the query, or the last ones."""
        request_id = request.args.get("id", "").strip()[: MAX_ID_LENGTH + 1]
        if not request_id:
            return listing(session, _show())
        found = live.find(request_id, key_of(session))
        recent_requests = [drawn(recent) for recent in found["data"]]
        return render(
            "request.html",
            200 if recent_requests else 404,
            id=request_id,
            recent_requests=recent_requests,
            reasons=REASONS,
            kinds=KINDS,
            our_sides=OUR_SIDES,
            silent=bool(found["workers"]["silent"]),
        )

    def listing(session: Session, show: Show) -> Answer:
        found = live.last(show, key_of(session))
        return render(
            "requests.html",
            rows=found["data"],
            show=show,
            shows=SHOWS,
            most=MAX_ROWS,
            our_sides=OUR_SIDES,
            silent=bool(found["workers"]["silent"]),
        )

    @page.api("requests")
    def last(session: Session) -> Answer:
        """Return the last requests of the session's key, or of all for administrators."""
        return live.last(_show(), key_of(session))

    @page.api("requests/<path:request_id>")
    def requests_with_id(session: Session, request_id: str) -> Answer:
        """Return what happened to a request, of the session's key or for administrators."""
        found: dict[str, Any] = live.find(request_id, key_of(session))
        if not found["data"]:
            raise NotFound(
                f"The request {shown(request_id, MAX_ID_LENGTH)} is not known (any more)."
            )
        return found

    return page


def key_of(session: Session) -> str | None:
    """Return the key whose requests a session sees; None: all."""
    return None if session.is_admin else session.caller.name


def _show() -> Show:
    """Return which requests the query asks for. Raises `BadRequest`."""
    asked = request.args.get("show") or SHOWS[0]
    for show in SHOWS:
        if show == asked:
            return show
    raise BadRequest(f"Invalid value for 'show': {shown(asked, 40)}.", param="show")
