"""What the tests of the edge share."""

import logging

import pytest

from tests.api.fake import FakeProvider, app_with


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """Apps log to the standard output of their test: no later one shall find it closed."""
    yield
    logging.getLogger("app").handlers = []


@pytest.fixture
def provider():
    """The provider behind the app."""
    return FakeProvider()


@pytest.fixture
def client(monkeypatch, provider):
    """A client of the app."""
    return app_with(monkeypatch, provider)
