"""A proxy whose models have a provider each with options of its own, and its requests and calls."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.support import settings
from tests.support.server import Proxy
from tests.support.upstream import Upstream, good
from tests.support.vectors import assert_answers

OPTIONS = {
    "merged": {"concurrency": 4},
    "single": {"concurrency": 1},
    "apart": {"concurrency": 4, "merge": False},
    "full": {"concurrency": 2, "merge": False},
    "openai": {},
    "cohere": {"max_inputs": 96},
    "counted": {"max_tokens": 100},
    "cached": {"concurrency": 4},
}

WAITING = 64  # requests that may wait at the proxy


@pytest.fixture(scope="module")
def upstreams():
    with ExitStack() as stack:
        yield {name: stack.enter_context(Upstream(settings.WIDTH)) for name in OPTIONS}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, upstreams):
    directory = tmp_path_factory.mktemp("batches")
    path = settings.settings_file(
        directory,
        {name: settings.provider(upstreams[name], **o) for name, o in OPTIONS.items()},
        {name: settings.model(name, **{"pass": ["task"]}) for name in OPTIONS},
        {"tests": {**settings.key(settings.KEY, "*"), "admin": True}},
        LIMITS={"waiting": WAITING},
    )
    with Proxy(directory, path) as proxy:
        yield proxy


@pytest.fixture
def at(proxy, upstreams):
    """A model and its provider, which is reset."""

    def model(name):
        upstreams[name].reset()
        return proxy.client(), upstreams[name]

    return model


def together(requests):
    """Run functions concurrently; return their results in order."""
    barrier = threading.Barrier(len(requests))

    def run(request):
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(run, requests))


@contextmanager
def held(upstream, calls):
    """Let the provider's next calls wait until the block ends; yields when all have arrived."""
    go = threading.Event()

    def hold(exchange):
        go.wait(60)
        good(exchange)

    upstream.script(*[hold] * calls)
    try:
        yield
    finally:
        go.set()


def outstanding(client, model):
    """Return the number of outstanding requests of a model, as the proxy reports it."""
    found = client.get("/v1/providers").json
    rows = found["data"] if isinstance(found, dict) else found
    return sum(row["outstanding"] for row in rows if row["model"] == model)


def texts(prefix, number):
    return [f"{prefix} {i}" + " word" * (i % 7) for i in range(number)]


def single(client, model, text, **fields):
    return lambda: client.embed(model, text, **fields)


def assert_each_its_own(answers, items):
    assert Counter(answer.status for answer in answers) == {200: len(items)}
    for answer, item in zip(answers, items, strict=True):
        assert_answers(answer.json, [item], settings.WIDTH)


def most_at_once(upstream, seconds):
    times = [call.time for call in upstream.calls]
    return max(sum(t <= other < t + seconds * 0.9 for other in times) for t in times)
