"""A proxy of four workers whose keys have limits, counted in a Valkey."""

import threading
import time
from collections import Counter

import pytest

from tests.support import settings

SECRETS = {
    name: f"sk-limited-{name}"
    for name in (
        *("minute", "day", "money", "users", "tokens", "exact", "long", "share", "free"),
        *("away", "strict", "few", "one"),
    )
}


def keys():
    """A key for each kind of limit."""
    limits = {
        "minute": {"requests_per_minute": 3, "tokens_per_minute": 1000},
        "day": {"tokens_per_day": 20},
        "money": {"dollars_per_month": 0.001},
        "users": {"user_requests_per_minute": 2},
        "tokens": {"tokens_per_minute": 300},
        "exact": {"requests_per_minute": 300},
        "long": {"tokens_per_month": 300},
        "share": {"requests_per_minute": 200},
        "away": {"tokens_per_month": 50},
        "strict": {"tokens_per_month": 50},
        "few": {"concurrent_requests": 3},
        "one": {"concurrent_requests": 1},
        "free": {},
    }
    return {name: {**settings.key(SECRETS[name], "*"), **limits[name]} for name in limits}


WORKERS = 4


@pytest.fixture(scope="module")
def many(start_proxy, valkey):
    """Four workers that share counters. The timeout is long: uncounted requests are admitted."""
    limits = {"url": valkey.url, "timeout": 0.25}
    return start_proxy(LIMITS=limits, keys=keys(), workers=WORKERS)


@pytest.fixture
def counted(valkey):
    """The Valkey, empty."""
    with valkey.client() as client:
        client.flushall()
    return valkey


def hammer(proxy, key, requests, threads=8, **fields):
    """Return the statuses of requests from several clients, and the seconds they took."""
    statuses = Counter()

    def work():
        client = proxy.client(SECRETS[key])
        for _ in range(requests // threads):
            statuses[client.embed("steady", "one", **fields).status] += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return statuses, time.monotonic() - start
