"""A proxy whose models have two providers each, and many requests for one of them."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.dispatch.process import Fixed
from tests.support import refusals, settings
from tests.support.server import Proxy, free_port
from tests.support.upstream import Upstream, good
from tests.support.vectors import assert_answers

CLIENTS = 8
MODELS = 14  # pairs of providers, one for each test
USUAL = refusals.delayed(0.05, good)
HEDGE_RATIO = 0.05  # that a request earns, by default


def pair(number):
    return f"pair-{number}"


@pytest.fixture(scope="module")
def upstreams():
    """Two providers for each model."""
    with ExitStack() as stack:
        yield {
            pair(n): [stack.enter_context(Upstream(settings.WIDTH)) for _ in range(2)]
            for n in range(MODELS)
        }


@pytest.fixture(scope="module")
def ports():
    """Ports of providers that are stopped and started."""
    return [free_port(), free_port()]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, upstreams, ports):
    directory = tmp_path_factory.mktemp("pools")
    providers, models = {}, {}
    for name, both in upstreams.items():
        for letter, upstream in zip("ab", both, strict=True):
            providers[f"{name}{letter}"] = settings.provider(upstream)
        models[name] = model(f"{name}a", f"{name}b")
        models[f"{name}-hedged"] = model(f"{name}a", f"{name}b", hedge=True)
        models[f"{name}-only"] = model(f"{name}a", hedge=True)  # earns hedges and needs none
        models[f"{name}-tiers"] = model(f"{name}a", f"{name}b", tiers=True)
    for letter, port in zip("ab", ports, strict=True):
        entry = settings.provider(Fixed(port)) | {"base_url": f"http://127.0.0.1:{port}/v1"}
        providers[f"mortal-{letter}"] = entry
    models["mortal"] = model("mortal-a", "mortal-b")
    keys = {"tests": settings.key(settings.KEY, "*")}
    path = settings.settings_file(directory, providers, models, keys)
    with Proxy(directory, path) as proxy:
        yield proxy


def model(*providers, tiers=False, **options):
    deployments = [
        {"provider": p, "model": "upstream-model", "tier": i if tiers else 0}
        for i, p in enumerate(providers)
    ]
    return {"dimensions": settings.WIDTH, "deployments": deployments, **options}


fresh_numbers = list(range(MODELS - 1))


@pytest.fixture
def fresh(upstreams):
    """An unused model and its providers, which are reset afterwards."""
    name = pair(fresh_numbers.pop())
    yield name, *upstreams[name]
    for upstream in upstreams[name]:
        upstream.reset()


@pytest.fixture
def client(proxy):
    return proxy.client()


def earn_hedges(proxy, model, ask):
    """Call `ask`, a request each, until two hedges are left: a busy machine uses some.

    Returns the number of hedges so far. The usual call should take long enough (`USUAL`), since one
    is hedged that takes half as long again.
    """
    asked = 0
    while HEDGE_RATIO * asked < hedges(proxy, model) + 2:
        for _ in range(20):
            ask()
        asked += 20
    return hedges(proxy, model)


def hedges(proxy, model):
    """Return how many hedges of a model were made."""
    lines = proxy.client().get("/metrics").text.splitlines()
    made = [line for line in lines if line.startswith("embeddings_proxy_hedges_total{")]
    return sum(float(line.split()[-1]) for line in made if f'model="{model}"' in line)


def flood(client, model, number, clients=CLIENTS, **fields):
    """Send requests of one text each; return the answers in order."""
    with ThreadPoolExecutor(clients) as pool:
        return list(
            pool.map(lambda i: client.embed(model, f"{model} {i}", **fields), range(number))
        )


def assert_all_served(answers, model):
    assert Counter(a.status for a in answers) == {200: len(answers)}
    for i, answer in enumerate(answers):
        assert_answers(answer.json, [f"{model} {i}"], settings.WIDTH)


def sometimes(rate, ill):
    dice = random.Random(1)
    return lambda exchange: (ill if dice.random() < rate else good)(exchange)
