"""Fixtures of the API's tests."""

import logging

import pytest

from tests.api.fake import FakeProvider, app_with


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """Remove log handlers: they write to the test's standard output, which is closed after it."""
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
