"""An app with few inputs, to see its limit in the document; apps with a ledger."""

import pytest

from tests.api.fake import FakeProvider, app_with, settings
from tests.console.ledger_app import LedgerApp

CONFIGURED = settings(LIMITS={"inputs": 3})


@pytest.fixture
def client(monkeypatch):
    return app_with(monkeypatch, FakeProvider(), LIMITS={"inputs": 3})


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes apps with a ledger in a database, and closes them."""
    monkeypatch.setattr("app.usage.reporter.MAX_REPORTS_PER_MINUTE", 10_000)
    monkeypatch.setattr("app.providers.registry.make", lambda _: FakeProvider())

    made = []

    def make(database, **options):
        made.append(LedgerApp(database, tmp_path / "spool", **options))
        return made[-1]

    yield make
    for app in made:
        app.services.close()
