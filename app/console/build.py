"""Makes the console with its pages; a new page is added here."""

from __future__ import annotations

from flask import Blueprint

from app.api.client_address import ClientAddresses
from app.auth.authenticator import Authenticator
from app.config import Settings
from app.console.console import Console
from app.console.now_page import now_page
from app.console.page import Page
from app.console.request_page import request_page
from app.console.root import root
from app.console.settings_page import settings_page
from app.observability.live.observer import Live


def make_console(
    settings: Settings,
    authenticator: Authenticator,
    addresses: ClientAddresses,
    live: Live | None,
) -> list[Blueprint]:
    """Return the routes of the console, and ``GET /``.

    What a page shows is an argument here, given by `app.factory`; ``live`` is None where the
    console is disabled.
    """
    pages: list[Page] = [settings_page(settings)]
    if live is not None:
        pages += [now_page(live), request_page(live)]
    console = Console(settings, authenticator, addresses, pages)
    return [console.blueprint(), root(settings)]
