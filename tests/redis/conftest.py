"""Fixtures of the tests of `app.redis`."""

import pytest

from app.redis.client import BestEffortClient

TIMEOUT_S = 0.05


@pytest.fixture
def make():
    """Makes clients, by default with a call timeout of 50 ms."""
    made = []

    def make(url, timeout_s=TIMEOUT_S, **options):
        made.append(BestEffortClient(url, timeout_s, "test", **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
