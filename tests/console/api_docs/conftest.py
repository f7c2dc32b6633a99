"""Apps with few inputs, to see their limit in the document, and the document of one."""

import pytest

from tests.api.fake import FakeProvider, app_with, settings

CONFIGURED = settings(LIMITS={"inputs": 3})


@pytest.fixture
def client(monkeypatch):
    return app_with(monkeypatch, FakeProvider(), LIMITS={"inputs": 3})


@pytest.fixture
def document(client):
    answer = client.get("/openapi.json")
    assert answer.content_type == "application/json"
    return answer.json


@pytest.fixture
def with_usage(monkeypatch, tmp_path):
    """An app with a ledger whose database is unavailable."""
    usage = {"url": f"sqlite:///{tmp_path}/none/usage.db", "spool": str(tmp_path / "spool")}
    return app_with(monkeypatch, FakeProvider(), LIMITS={"inputs": 3}, USAGE=usage)
