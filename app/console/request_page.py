"""The page Request: what happened to a request, step by step."""

from __future__ import annotations

from app.console.page import Answer, Page
from app.console.sessions import Session
from app.errors import NotFound, shown
from app.observability.live.observer import Live

MAX_ID_SHOWN = 128  # characters of a request's id in an error message


def request_page(live: Live) -> Page:
    """Return the page: a key sees its own requests, an administrator all."""
    page = Page("request", "Request")

    @page.api("requests/<path:request_id>")
    def stories(session: Session, request_id: str) -> Answer:
        """Return what happened to a request, of the session's key or for administrators."""
        found = live.find(request_id, None if session.is_admin else session.caller.name)
        if not found["data"]:
            raise NotFound(
                f"The request {shown(request_id, MAX_ID_SHOWN)} is not known (any more)."
            )
        return found

    return page
