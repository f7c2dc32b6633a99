"""Makes the console with its pages; a new page is added here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flask import Blueprint

from app.api.client import ClientAddresses
from app.auth.authenticator import Authenticator
from app.config import Settings
from app.console.console import Console
from app.console.page import Page
from app.console.playground.embedding import PlaygroundEmbedder
from app.console.playground.page import playground_page
from app.console.root import root
from app.console.settings.page import settings_page
from app.dispatch.deployments.deployment import Deployment


def make_console(
    settings: Settings,
    authenticator: Authenticator,
    addresses: ClientAddresses,
    embedder: PlaygroundEmbedder,
    deployments: Iterable[tuple[str, Deployment]],
    others: Sequence[Page] = (),
) -> list[Blueprint]:
    """Return the routes of the console, and ``GET /``.

    What a page shows is an argument here, given by `app.factory`; ``others`` are made already.
    """
    pages: list[Page] = [
        *others,
        playground_page(settings, embedder, deployments, addresses),
        settings_page(settings),
    ]
    console = Console(settings, authenticator, addresses, pages)
    return [console.blueprint(), root(settings)]
