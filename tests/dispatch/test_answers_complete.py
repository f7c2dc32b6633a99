"""A caller gets a right vector for each input or an error; the cache stores no other vectors."""

import time
from collections import Counter
from threading import Lock
from unittest.mock import patch

import pytest

from app.cache.memory import MemoryCache
from app.concurrency.deadline import Deadline
from app.domain import Call, Caller, EmbeddingRequest, Vectors
from app.errors import ClientError, ProviderTimeout
from app.factory import create_app
from app.pipeline import Pipeline
from app.providers import registry
from app.providers.base import Capabilities
from tests.dispatch.arrangements import Stub, dispatcher, load, models, vectors
from tests.dispatch.members import row
from tests.dispatch.simulator import simulated
from tests.support.settings import KEY, KEYS

WIDTH = 8


def long_tail(world, call):
    """Let a fifth of the calls take seconds, once the latency is known."""
    if world.now > 1030 and world.rng.random() < 0.2:
        return world.rng.uniform(2.0, 8.0), None
    return world.rng.uniform(0.04, 0.06), None


def incomplete(asked):
    """Return the answers with a wrong or missing vector."""
    return [
        one
        for one in asked
        if one.outcome and list(one.outcome.vectors.rows) != [row(i) for i in one.request.items]
    ]


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_each_hedged_part_is_put_once(seed, slots, caching):
    members = dict.fromkeys("abc", long_tail)
    options = {"hedge": True, "caching": caching, "concurrency": slots, "seed": seed}
    with simulated(members, models(*members, max_inputs=1), **options) as run:
        load(run, 600, 0.05)
        for after in (30, 600):  # the second time, what is cached comes from the cache
            for k in range(60):
                run.ask("m", [f"{k}-{j}" for j in range(12)], after=after + 8 * k, timeout=60)
        run.world.run()
        assert not incomplete(run.asked)
        assert not run.errors()


class SlowAtFirst:
    """Embeds at once, except the first calls with a text of ``delays``, in seconds.

    Assigning other ``delays`` ends the slow calls.
    """

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.delays: dict[str, list[float]] = {}
        self._lock = Lock()

    def limits(self, model: str) -> Capabilities:
        return self.capabilities

    def load(self) -> None:
        pass

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        with self._lock:
            all_delays = self.delays
            delays = all_delays.get(call.items[0])
            end = time.monotonic() + (delays.pop(0) if delays else 0.005)
        while time.monotonic() < end and self.delays is all_delays:
            if deadline.remaining() <= 0:
                raise ProviderTimeout("did not answer in time")
            time.sleep(0.002)
        return vectors(call.items, WIDTH)


@pytest.fixture
def hedging():
    """A proxy whose model hedges and has three deployments, and their provider."""
    provider = SlowAtFirst()
    settings = {
        "PROVIDERS": {
            name: {"kind": "openai", "api_key": "sk-unknown", "concurrency": 2} for name in "abc"
        },
        "MODELS": {
            "embed": {
                "dimensions": WIDTH,
                "hedge": True,
                "deployments": [
                    {"provider": name, "model": "u", "max_inputs": 1} for name in "abc"
                ],
            },
            "steady": {"deployments": [{"provider": "a", "model": "u"}]},
        },
        "KEYS": KEYS,
        "CACHE": {"ttl": 60, "max_bytes": 2**20},
    }
    with patch.object(registry, "make", lambda settings: provider):
        yield create_app(settings).test_client(), provider


def ask(client, texts, **fields):
    body = {"model": "embed", "input": texts, **fields}
    return client.post("/v1/embeddings", json=body, headers={"Authorization": f"Bearer {KEY}"})


def test_no_vector_is_missing_if_a_part_is_retried_while_its_hedge_runs(hedging):
    """Both calls of A are slow, then its hedge answers; B is late at both of its deployments."""
    client, provider = hedging
    for i in range(60):
        assert ask(client, [f"w{i}"]).status_code == 200
    provider.delays = {"A": [30, 2.4], "B": [30, 30, 30]}
    answer = ask(client, ["A", "B"], caching=True, timeout=4)
    widths = {200: [WIDTH, WIDTH]}.get(answer.status_code, [])
    assert [len(d["embedding"]) for d in answer.json.get("data", [])] == widths
    provider.delays = {}
    for text in "AB":  # nor is an empty one kept for the next caller
        assert [len(d["embedding"]) for d in ask(client, [text], caching=True).json["data"]] == [
            WIDTH
        ]


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize(
    "rows", [[b""], [b"\0\0\x80"], [b"\0\0\x80?" * 3], [b"\0\0\x80?" * 4] * 2, []]
)
def test_pipeline_neither_answers_nor_caches_invalid_vectors(rows, caching):
    """The pipeline checks vectors before cache and answer, also if an adapter does not."""
    wrong = Stub(lambda call: Vectors(rows, [1] * len(rows)))
    cache = MemoryCache(2**20, 3600, time.monotonic)
    made = dispatcher({"a": wrong}, model={"dimensions": 4})
    pipeline = Pipeline(made, cache, "shared", {"m": 4})
    request = EmbeddingRequest("m", ["x"], caching=caching)
    heard = Counter[str]()
    for _ in range(2):
        try:
            outcome = pipeline.run(request, Caller("tests"), time.monotonic() + 60)
            heard[f"{outcome.cache} {list(outcome.vectors.rows)}"] += 1
        except ClientError as error:
            heard[str(error.status)] += 1
    assert set(heard) <= {"500", "502"}
