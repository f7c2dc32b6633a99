"""The quota of a deployment is one for all workers of all hosts."""

import time

import pytest

from tests.conftest import WORKER_CLASSES
from tests.e2e.hosts import in_threads, two_hosts
from tests.support import settings
from tests.support.server import eventually
from tests.support.upstream import Upstream
from tests.support.valkey import Valkey

QUOTA = 60  # calls a minute: half of it at once, and the others spaced over half a minute
MAX_LOAD_S = 20
LOAD_S = 6  # tests/limits/leases/test_worker_leases.py has hours of it, in virtual time


@pytest.fixture
def upstream():
    """The provider, which counts."""
    with Upstream() as provider:
        yield provider


@pytest.fixture
def valkey():
    """The Valkey that leases."""
    with Valkey() as server:
        yield server


@pytest.fixture(params=WORKER_CLASSES)
def hosts(request, upstream, valkey, tmp_path):
    """Two proxies of two workers each."""
    deployment = {"provider": "p", "model": "m", "requests_per_minute": QUOTA}
    model = {"dimensions": settings.WIDTH, "deployments": [deployment]}
    provider = settings.provider(upstream, merge=False)
    with two_hosts(tmp_path, request.param, valkey, provider, model) as both:
        yield both


def load(hosts, seconds):
    """Send requests of several clients to all hosts."""
    end = time.monotonic() + seconds

    def ask(host, number):
        client, count = host.client(), 0
        while time.monotonic() < end:
            count += 1
            client.embed("m", f"{host.port} {number} {count}", timeout=1)
            time.sleep(0.05)

    in_threads(hosts, 6, ask)


def test_all_workers_together_use_the_quota_and_keep_to_its_rate(hosts, upstream, valkey):
    with valkey.client() as client:
        key = eventually(lambda: client.keys("embeddings:quota:*"), 60)[0]

        def are_leased():
            workers = [v.split() for k, v in client.hgetall(key).items() if k.startswith(b"w:")]
            return len(workers) == 4 and all(fields[1] == b"1" for fields in workers)

        eventually(are_leased, 60)
    began = time.monotonic()
    load(hosts, LOAD_S)
    while not has_used_the_quota(upstream, began) and time.monotonic() < began + MAX_LOAD_S:
        load(hosts, 1)  # on a busy machine leases come late
    assert has_used_the_quota(upstream, began)
    assert len(upstream.calls) <= 0.5 * QUOTA + spaced_since(began) + 4
    valkey.kill()
    load(hosts, 4)
    assert time.monotonic() > began + 60 or len(upstream.calls) <= QUOTA


def spaced_since(began):
    """Return how many calls the quota allows since then, besides those at once."""
    return QUOTA * (time.monotonic() - began) / 60


def has_used_the_quota(upstream, began):
    return len(upstream.calls) >= 0.9 * 0.5 * QUOTA + spaced_since(began) - 2
