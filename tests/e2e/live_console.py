"""A proxy of two providers for the tests of the pages Now and Request: fixtures to import."""

import pytest

from tests.e2e.conftest import ADMIN_KEY, XSS_NAME
from tests.support import settings
from tests.support.server import Proxy
from tests.support.upstream import Upstream

SPLIT = [f"split {i}" for i in range(10)]


@pytest.fixture(scope="module")
def upstreams():
    with Upstream(settings.WIDTH) as a, Upstream(settings.WIDTH) as b:
        yield a, b


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, upstreams):
    a, b = upstreams
    directory = tmp_path_factory.mktemp("live")
    pair = [
        {"provider": "a", "model": "upstream-model", "price_per_million_tokens": 0.02},
        {"provider": "b", "model": "upstream-model"},
    ]
    both = {"dimensions": settings.WIDTH, "deployments": pair}
    path = settings.settings_file(
        directory,
        {
            "a": settings.provider(a, max_inputs=4),
            "b": settings.provider(b, max_inputs=4),
        },
        {
            "embed": {"dimensions": settings.WIDTH, "deployments": pair[:1]},
            "hedged": {**both, "hedge": True},
            XSS_NAME: settings.model("b"),
        },
        {
            "tests": settings.KEYS["tests"],
            "narrow": settings.key(settings.NARROW_KEY, "embed"),
            "admin": {**settings.key(ADMIN_KEY, "*"), "admin": True},
        },
        CACHE={"ttl": 600, "max_bytes": 2**24},
    )
    with Proxy(directory, path) as started:
        yield started


@pytest.fixture(autouse=True)
def good_answers(upstreams):
    for upstream in upstreams:
        upstream.reset()


@pytest.fixture(scope="module")
def page(browser, proxy):
    """A page of an administrator."""
    with browser.open(proxy.url) as opened:
        opened.login(ADMIN_KEY)
        yield opened


def send(proxy, request_id, model="embed", texts="a text", key=settings.KEY, **fields):
    """Send a request with this id."""
    body = {"model": model, "input": texts, **fields}
    return proxy.client(key).post(body, x_request_id=request_id)
