"""What a page of the console is made of: a `Page` with its views, and what these return.

A page is a function that returns its `Page`, in a package of `app.console`, and its templates::

    def keys_page(table: KeyTable) -> Page:
        page = Page("keys", "Keys", admin_only=True)

        @page.get()  # GET /console/keys
        def listing(session: Session) -> Answer:
            return render("keys.html", keys=table.read()[1])

        @page.post("/<name>/revoke")  # POST /console/keys/<name>/revoke
        def revoke(session: Session, name: str) -> Answer:
            table.revoke(name)
            return redirect("keys", f"The key {name} is revoked.")

        @page.api("keys")  # GET /console/api/keys, described in `app.console.api_docs.descriptions`
        def data(session: Session) -> Answer:
            return {"object": "list", "data": []}

        return page

A view is called with the session of the request, and the variables of the path by name; it may use
Flask's ``request``. Before it runs, the console has checked that the session is valid, that it is
an administrator's where the page needs one, and the CSRF token of a POST. A `ClientError` that it
raises becomes a page, or JSON where a script asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Response

#: Bytes of a form, unless a route allows more.
MAX_FORM_BYTES = 64 * 1024
#: Names of pages in the order of the navigation; pages with other names follow.
ORDER = ("now", "use", "keys", "request", "playground", "settings")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page made from a template. See `render`."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect within the console. See `redirect`."""

    path: str
    message: str = ""
    failed: bool = False


#: What a view returns: a page, a redirect, JSON, or a finished response (a file to download).
Answer = Rendered | Redirect | Mapping[str, Any] | Response
View = Callable[..., Answer]
V = TypeVar("V", bound=View)


def render(template: str, status: int = 200, **values: Any) -> Rendered:
    """Answer with a template of ``templates/``, which can use these values.

    It can also use ``session``, ``link(path)`` and ``static(name)``; see ``templates/base.html``.
    """
    return Rendered(template, values, status)


def redirect(path: str, message: str = "", *, failed: bool = False) -> Redirect:
    """Answer a POST with a redirect to a path below /console, such as ``"keys"``.

    The message is shown once, on the next page. Until then it is in a cookie: no secrets in it.
    ``failed``: it is shown as an error.
    """
    return Redirect(path, message, failed)


@dataclass(frozen=True, slots=True)
class Route:
    """A view and where it is: ``path`` is relative to /console."""

    path: str
    method: str
    view: View
    max_bytes: int = MAX_FORM_BYTES
    is_api: bool = False  # answers with JSON, errors too
    admin_only: bool = False


class Page:
    """A page: an entry in the navigation, and its routes below ``/console/NAME``."""

    def __init__(self, name: str, title: str, *, admin_only: bool = False) -> None:
        """``admin_only``: only administrators see it in the navigation and may use its routes."""
        self.name = name
        self.title = title
        self.admin_only = admin_only
        self.routes: list[Route] = []

    def get(self, path: str = "") -> Callable[[V], V]:
        """Register a view of ``GET /console/NAME`` and the path after it."""
        return self._registers(f"{self.name}{path}", "GET")

    def post(self, path: str = "", max_bytes: int = MAX_FORM_BYTES) -> Callable[[V], V]:
        """Register a view of ``POST /console/NAME`` and the path after it.

        The CSRF token is checked before it: ``{{ csrf() }}`` in a form, or the header
        ``x-csrf-token`` of a script (`post` of static/console.js).
        """
        return self._registers(f"{self.name}{path}", "POST", max_bytes)

    def api(self, path: str, method: str = "GET") -> Callable[[V], V]:
        """Register a view of ``/console/api/PATH``, for scripts: its errors are JSON."""
        return self._registers(f"api/{path}", method, is_api=True)

    def _registers(
        self, path: str, method: str, max_bytes: int = MAX_FORM_BYTES, *, is_api: bool = False
    ) -> Callable[[V], V]:
        def register(view: V) -> V:
            route = Route(path, method, view, max_bytes, is_api, self.admin_only)
            self.routes.append(route)
            return view

        return register
