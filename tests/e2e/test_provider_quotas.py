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
        key = eventually(lambda: client.keys("embeddings:quota:*"), 10)[0]

        def are_leased():
            workers = [v.split() for k, v in client.hgetall(key).items() if k.startswith(b"w:")]
            return len(workers) == 4 and all(fields[1] == b"1" for fields in workers)

        eventually(are_leased, 20)
    began = time.monotonic()
    load(hosts, LOAD_S)
    calls = [call.time - began for call in upstream.calls]
    spaced = QUOTA * LOAD_S / 60
    assert 0.9 * 0.5 * QUOTA + spaced - 2 <= len(calls) <= 0.5 * QUOTA + spaced + 4
    valkey.kill()
    load(hosts, 4)
    assert len(upstream.calls) <= QUOTA
