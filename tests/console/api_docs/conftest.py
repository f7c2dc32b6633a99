"""An app with few inputs, to see its limit in the document."""

import pytest

from tests.api.fake import FakeProvider, app_with, settings

CONFIGURED = settings(LIMITS={"inputs": 3})


@pytest.fixture
def client(monkeypatch):
    return app_with(monkeypatch, FakeProvider(), LIMITS={"inputs": 3})
