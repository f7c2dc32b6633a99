"""Who is served first where calls queue, with the real server and real sockets.

The provider has one slot and holds its calls, so that the order of the calls is the order in which
the proxy lets requests leave: no test depends on times.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.conftest import WORKER_CLASSES
from tests.support import settings
from tests.support.server import Proxy, eventually
from tests.support.upstream import Upstream, good
from tests.support.vectors import assert_answers

KEYS = {
    "ingest": {"share": 1},
    "search": {"share": 1},
    "large": {"share": 3},
    "vip": {"service_tiers": ["default", "flex", "priority"]},
    "users": {"fair_users": True},
}
WAITING = 40


@pytest.fixture(scope="module", params=WORKER_CLASSES)
def served(request, tmp_path_factory):
    """A proxy, and the provider behind it."""
    directory = tmp_path_factory.mktemp("shares")
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(settings.WIDTH))
        path = settings.settings_file(
            directory,
            {"p": settings.provider(upstream, concurrency=1, merge=False, max_inputs=4)},
            {"m": settings.model("p")},
            {name: settings.key(f"sk-{name}", "*") | options for name, options in KEYS.items()}
            | {"tests": {**settings.key(settings.KEY, "*"), "admin": True}},
            LIMITS={"waiting": WAITING},
        )
        yield stack.enter_context(Proxy(directory, path, worker_class=request.param)), upstream


class Held:
    """Requests of several keys while the provider holds its first call."""

    def __init__(self, proxy, upstream, pool):
        self._proxy, self._upstream, self._pool = proxy, upstream, pool
        self._go = threading.Event()
        self._answers = []
        upstream.reset()
        upstream.script(self._hold)
        self.ask("tests", "first")
        upstream.wait_for_calls(1)

    def _hold(self, exchange):
        self._go.wait(60)
        good(exchange)

    def ask(self, key, texts, number=1, **fields):
        """Make requests one after the other, so that their order is known."""
        secret = settings.KEY if key == "tests" else f"sk-{key}"
        client = self._proxy.client(secret)
        for n in range(number):
            items = [f"{key} {n} {i}" for i in range(texts)] if isinstance(texts, int) else [texts]
            self._answers.append((self._pool.submit(client.embed, "m", items, **fields), items))
            eventually(lambda: self._arrived() >= len(self._answers))

    def _arrived(self):
        """Return how many requests are in flight, wait, or were refused."""
        (row,) = self._proxy.client().get("/v1/providers").json["data"]
        return row["outstanding"] + sum(future.done() for future, _ in self._answers)

    def order(self):
        """Let all calls go; return the first words of the calls, in order, and the answers."""
        self._go.set()
        answers = []
        for future, items in self._answers:
            answer = future.result(60)
            if answer.status == 200:
                assert_answers(answer.json, items, settings.WIDTH)
            answers.append(answer)
        return [call.items[0].split()[0] for call in self._upstream.calls][1:], answers


@pytest.fixture
def held(served):
    with ThreadPoolExecutor(64) as pool:
        yield Held(*served, pool)


def test_a_query_does_not_wait_behind_another_keys_requests(held):
    held.ask("ingest", 4, number=12)
    held.ask("search", 1)
    order, _ = held.order()
    assert order.index("search") <= 1


def test_a_keys_own_small_request_does_not_wait_behind_its_large_ones(held):
    held.ask("ingest", 20, number=6)
    held.ask("ingest", "query")
    order, _ = held.order()
    assert order.index("query") <= 1


def test_keys_leave_by_their_shares(held):
    held.ask("large", 4, number=12)
    held.ask("search", 4, number=12)
    order, _ = held.order()
    assert order[:12].count("large") in (8, 9, 10)


def test_end_users_of_a_key_take_turns(held):
    held.ask("users", "noisy", number=10, user="a")
    held.ask("users", "quiet", number=2, user="b")
    order, _ = held.order()
    assert order[:4].count("quiet") == 2


def test_tiers_leave_in_their_order(held):
    held.ask("vip", "bulk", number=3, service_tier="flex")
    held.ask("search", "usual", number=3)
    held.ask("vip", "urgent", number=3, service_tier="priority")
    order, _ = held.order()
    assert order == ["urgent"] * 3 + ["usual"] * 3 + ["bulk"] * 3


def test_a_full_queue_takes_one_out_of_the_key_with_most_waiting(held):
    held.ask("ingest", 1, number=WAITING)
    held.ask("search", 1, number=3)
    order, answers = held.order()
    refused = [answer for answer in answers if answer.status == 503]
    assert [answer.json["error"]["code"] for answer in refused] == ["overloaded"] * len(refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(refused) == 3
    assert [answer.status for answer in answers[-3:]] == [200] * 3
    assert order.count("search") == 3
