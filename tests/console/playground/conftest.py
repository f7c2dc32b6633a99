"""An app with a playground, and its provider."""

import pytest

from app.factory import create_app
from app.providers import registry
from tests.api.fake import WIDTH, FakeProvider, settings
from tests.console.playground.player import DEPLOYMENTS, POOR_KEY, Log, Player
from tests.console.visitor import ADMIN
from tests.support.settings import key


@pytest.fixture
def provider():
    return FakeProvider()


@pytest.fixture
def logs(monkeypatch):
    """The observers that the app makes."""
    made = []

    def make(*consumers):
        made.append(Log(*consumers))
        return made[-1]

    monkeypatch.setattr("app.factory.RequestRecords", make)
    return made


@pytest.fixture
def log(app, logs):
    """What the app has recorded."""
    (made,) = logs
    return made


@pytest.fixture
def app(monkeypatch, provider, logs):
    monkeypatch.setattr(registry, "make", lambda _: provider)
    given = settings()
    given["MODELS"]["pair"] = {"dimensions": WIDTH, "space": "pair", "deployments": DEPLOYMENTS}
    poor = {**key(POOR_KEY, "*"), "requests_per_minute": 1}
    given["KEYS"] = {**given["KEYS"], "admin": ADMIN, "poor": poor}
    given["BLOCKED_USERS"] = ["mallory"]
    return create_app(given, start=False)


@pytest.fixture
def player(app):
    return Player(app)
