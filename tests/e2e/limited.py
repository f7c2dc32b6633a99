"""A proxy of four workers whose keys have limits, counted in a Valkey."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

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
#: Long, because requests that are not counted within it are admitted.
TIMEOUT_S = 10


@pytest.fixture(scope="module")
def many(start_proxy, valkey):
    """Four workers that share counters."""
    limits = {"url": valkey.url, "timeout": TIMEOUT_S}
    return start_proxy(LIMITS=limits, keys=keys(), workers=WORKERS)


@pytest.fixture
def counted(valkey):
    """The Valkey, empty."""
    flush(valkey)
    return valkey


def flush(valkey):
    with valkey.client() as client:
        client.flushall()


def in_one_minute(valkey, work):
    """Return what `work` returns; it begins anew where a minute of the limits ends meanwhile."""
    while True:
        flush(valkey)
        minute = time.time() // 60
        result = work()
        if time.time() // 60 == minute:
            return result


def hammer(proxy, key, requests, threads=8, **fields):
    """Return the statuses of requests from several clients, and the seconds they took."""
    client = proxy.client(SECRETS[key])
    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        answers = pool.map(lambda _: client.embed("steady", "one", **fields), range(requests))
        statuses = Counter(answer.status for answer in answers)
    return statuses, time.monotonic() - start
