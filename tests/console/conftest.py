"""Apps with a ledger and keys in its database."""

import pytest

from tests.api.fake import FakeProvider
from tests.console.ledger_app import LedgerApp


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes apps with a ledger in a database, and closes them."""
    monkeypatch.setattr("app.usage.reports.reporter.MAX_REPORTS_PER_MINUTE", 10_000)
    monkeypatch.setattr("app.providers.registry.make", lambda _: FakeProvider())

    made = []

    def make(database, **options):
        made.append(LedgerApp(database, tmp_path / "spool", **options))
        return made[-1]

    yield make
    for app in made:
        app.services.close()
