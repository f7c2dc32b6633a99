"""An app with a database of keys, and its administrator's browser."""

import pytest

from tests.usage.conftest import sqlite as sqlite


@pytest.fixture
def app(make, sqlite):
    return make(sqlite)


@pytest.fixture
def admin(app):
    return app.visitor()
