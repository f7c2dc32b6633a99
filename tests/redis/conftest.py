"""Fixtures of the tests of `app.redis`."""

import pytest

from app.redis.client import BestEffortClient
from tests.redis.patience import PATIENT_S
from tests.redis.patience import patient_steps as patient_steps
from tests.redis.patience import usual_steps as usual_steps


@pytest.fixture
def make():
    """Makes clients, by default with a call timeout that no answer exceeds."""
    made = []

    def make(url, timeout_s=PATIENT_S, **options):
        made.append(BestEffortClient(url, timeout_s, "test", **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
