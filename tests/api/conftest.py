"""Fixtures of the API's tests."""

import pytest

from tests.api.fake import FakeProvider, app_with


@pytest.fixture
def provider():
    """The provider behind the app."""
    return FakeProvider()


@pytest.fixture
def client(monkeypatch, provider):
    """A client of the app."""
    return app_with(monkeypatch, provider)
