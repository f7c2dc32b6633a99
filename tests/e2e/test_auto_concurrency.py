"""``"concurrency": "auto"`` with the real server, before an engine with a small capacity."""

import threading
from contextlib import ExitStack

import pytest

from tests.conftest import WORKER_CLASSES
from tests.support import settings
from tests.support.server import Proxy, eventually
from tests.support.settings import KEY
from tests.support.upstream import Upstream, good

CALLERS = 24
CALL_S = 0.05
FOUND_WITHIN_S = 50


class Engine:
    """Computes so many calls at once, each for `CALL_S`; the others wait."""

    def __init__(self, capacity):
        self.resize(capacity)

    def resize(self, capacity):
        self._slots = threading.Semaphore(capacity)

    def __call__(self, exchange):
        with self._slots:
            exchange.closed_within(CALL_S)
        good(exchange)


@pytest.fixture(params=WORKER_CLASSES)
def proxy(request, tmp_path):
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(settings.WIDTH))
        upstream.always(Engine(4))
        path = settings.settings_file(
            tmp_path,
            {"engine": settings.provider(upstream, concurrency="auto", merge=False)},
            {"m": settings.model("engine")},
            {"tests": {**settings.key(KEY, "*"), "admin": True}},
        )
        proxy = stack.enter_context(Proxy(tmp_path, path, worker_class=request.param))
        proxy.engine = upstream
        yield proxy


def test_concurrency_follows_the_engine(proxy):
    is_over, statuses = threading.Event(), set()

    def ask(caller):
        client = proxy.client()
        while not is_over.is_set():
            statuses.add(client.embed("m", f"caller {caller}", timeout=30).status)

    def concurrency():
        (deployment,) = proxy.client().get("/v1/providers").json["data"]
        assert deployment["concurrency_is_auto"]
        return deployment["concurrency"]

    callers = [threading.Thread(target=ask, args=(caller,)) for caller in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: concurrency() <= 6, FOUND_WITHIN_S, "near the capacity of 4")
        proxy.engine.always(Engine(16))
        eventually(lambda: concurrency() >= 12, FOUND_WITHIN_S, "near the capacity of 16")
        lines = proxy.client().get("/metrics").text.splitlines()
        shown = [line for line in lines if line.startswith("embeddings_proxy_concurrency{")]
        assert len(shown) == 1
    finally:
        is_over.set()
        for caller in callers:
            caller.join(30)
    assert statuses == {200}
