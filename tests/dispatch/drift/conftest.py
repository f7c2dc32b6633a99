"""Fixtures of the tests of drift: databases, and workers of one host with fake providers."""

import pytest

from tests.dispatch.drift.fake import FakeProvider, FakeReferences, Host, reference
from tests.support.clock import Clock
from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import url as url


@pytest.fixture
def clock():
    return Clock(1_000_000)


@pytest.fixture
def providers():
    return {"a": FakeProvider(), "b": FakeProvider()}


@pytest.fixture
def references():
    return FakeReferences(reference())


@pytest.fixture
def host(tmp_path, providers, references, clock):
    """Makes workers of one host."""
    made = []

    def make(**options):
        made.append(Host(tmp_path, providers, references, clock, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()
