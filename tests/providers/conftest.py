"""A provider on a real socket, for the tests of the transport."""

import pytest

from tests.providers.http import WIDTH, provider_at
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def shared():
    """One provider for all tests here."""
    with Upstream(WIDTH) as upstream:
        yield upstream


@pytest.fixture
def upstream(shared):
    """The provider, reset."""
    shared.reset()
    yield shared
    shared.reset()


@pytest.fixture
def provider(upstream):
    """The proxy's provider for it."""
    return provider_at(upstream)
