"""A server to share a cache by. Started once for a module that asks for it."""

import pytest

from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def valkey():
    """A real server."""
    with Valkey() as server:
        yield server


@pytest.fixture
def redis(valkey):
    """A plain client of it, and nothing in it."""
    with valkey.client() as client:
        client.flushall()
        yield client
