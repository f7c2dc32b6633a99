"""A worker's cache: expiry, eviction and memory."""

import gc
import os
import subprocess
import sys
import tracemalloc

import pytest

from app.cache.memory import OVERHEAD_BYTES, MemoryCache
from app.domain import Entry
from tests.cache.contract import CacheContract, entry, key
from tests.support.clock import Clock


class TestContract(CacheContract):
    """The in-memory cache passes the tests of every cache."""

    @pytest.fixture
    def cache(self):
        return MemoryCache(2**20, 3600)


@pytest.fixture
def clock():
    """A clock at 0."""
    return Clock(0)


def room_for(number, width=8):
    return number * (4 * width + OVERHEAD_BYTES)


def kept(cache, numbers):
    found = cache.get([key(n) for n in numbers])
    return [n for n, e in zip(numbers, found, strict=True) if e is not None]


def test_entry_expires_exactly_at_its_ttl(clock):
    cache = MemoryCache(2**20, 10, clock)
    cache.put([(key(1), entry(1))])
    clock.now = 9.999
    assert kept(cache, [1]) == [1]
    clock.now = 10
    assert kept(cache, [1]) == []


def test_get_does_not_extend_ttl(clock):
    cache = MemoryCache(2**20, 10, clock)
    cache.put([(key(1), entry(1))])
    for clock.now in range(10):
        assert kept(cache, [1]) == [1]
    clock.now = 10
    assert kept(cache, [1]) == []


def test_put_resets_ttl(clock):
    cache = MemoryCache(2**20, 10, clock)
    cache.put([(key(1), entry(1))])
    clock.now = 9
    cache.put([(key(1), entry(1))])
    clock.now = 18.9
    assert kept(cache, [1]) == [1]


def test_least_recently_used_entry_is_evicted(clock):
    cache = MemoryCache(room_for(3), 10, clock)
    cache.put((key(n), entry(n)) for n in (1, 2, 3))
    kept(cache, [1])
    cache.put([(key(4), entry(4))])
    assert kept(cache, [1, 2, 3, 4]) == [1, 3, 4]


def test_expired_entries_are_evicted_first(clock):
    cache = MemoryCache(room_for(3), 10, clock)
    cache.put([(key(1), entry(1))])
    clock.now = 5
    cache.put([(key(2), entry(2)), (key(3), entry(3))])
    kept(cache, [1])  # the most recently used, but expired
    clock.now = 11
    cache.put([(key(4), entry(4))])
    assert kept(cache, [1, 2, 3, 4]) == [2, 3, 4]


def test_an_entry_larger_than_the_cache_is_not_stored(clock):
    cache = MemoryCache(room_for(1, width=100), 10, clock)
    cache.put([(key(1), entry(1, width=100))])
    cache.put([(key(2), entry(2, width=101))])
    assert kept(cache, [1, 2]) == [1]


def test_too_large_entry_does_not_prevent_storing_the_next(clock):
    cache = MemoryCache(room_for(2), 10, clock)
    cache.put([(key(1), entry(1)), (key(2), entry(2, width=10_000)), (key(3), entry(3))])
    assert kept(cache, [1, 2, 3]) == [1, 3]


def fill(cache, number, width):
    cache.put((os.urandom(20), Entry(os.urandom(4 * width), 1000 + n)) for n in range(number))


def cost_of(number, width):
    """Bytes of an entry with its share of the data structures."""
    cache = MemoryCache(2**40, 3600)
    fill(cache, 8, width)  # made once, so not part of an entry
    gc.collect()
    tracemalloc.start()
    try:
        fill(cache, number, width)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / number
    finally:
        tracemalloc.stop()


# Around the sizes at which dictionaries double (there they are emptiest), and between them.
@pytest.mark.parametrize("number", [500, 1400, 2750, 5600, 11_000])
def test_a_1536_wide_entry_costs_at_most_7200_bytes(number):
    assert cost_of(number, 1536) <= 7200


@pytest.mark.parametrize("width", [8, 256, 1536])
@pytest.mark.parametrize("number", [1400, 5600, 11_000])
def test_measured_bytes_are_at_most_the_counted_bytes(width, number):
    assert cost_of(number, width) <= 4 * width + OVERHEAD_BYTES


MEASURE = """
import os, sys
sys.path.insert(0, {root!r})
from app.cache.memory import MemoryCache
from app.domain import Entry

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

cache = MemoryCache({max_bytes}, 3600)
before = resident()
for _ in range({puts}):
    cache.put([(os.urandom(20), Entry(os.urandom({size}), 7))])
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
@pytest.mark.parametrize("size", [256, 6144])
def test_process_grows_by_about_max_bytes(size):
    """The cache is filled three times, so that entries are evicted."""
    max_bytes = 24 * 2**20
    script = MEASURE.format(
        root=os.getcwd(), max_bytes=max_bytes, size=size, puts=3 * max_bytes // (size + 640)
    )
    grown = int(subprocess.check_output([sys.executable, "-c", script]))
    assert 0.7 * max_bytes < grown < 1.15 * max_bytes
