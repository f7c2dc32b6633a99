"""Large look-ups in the shared cache: in chunks, within the call timeout, also over a slow link."""

import contextlib
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.chunks import MAX_BYTES, MAX_KEYS, MIN_BYTES, START_BYTES, ChunkSize, next_size
from app.cache.shared import MAX_WRITE_BYTES, MAX_WRITE_ENTRIES, SharedCache, SharedSpace
from app.domain import Entry
from tests.cache.levels import level
from tests.redis.patience import PATIENT_S, be_patient
from tests.redis.servers import SlowRelay, talking
from tests.support.server import eventually

WIDTH = 1536
TIMEOUT_S = 0.05
#: Seconds that a look-up with a timeout of 50 ms may take here. Other processes use the cores too,
#: and may delay one of them for longer: it is repeated.
AT_MOST_S = 0.2
SIZES = st.integers(MIN_BYTES, MAX_BYTES)
SECONDS = st.floats(0, 10)


# Sizes


@given(SIZES, st.integers(0, 10**9), SECONDS, st.floats(0.001, 5))
def test_size_stays_within_its_bounds(size, received, took_s, timeout_s):
    assert MIN_BYTES <= next_size(size, received, took_s, timeout_s) <= MAX_BYTES


@given(SIZES, SECONDS)
def test_chunk_that_was_less_than_half_full_does_not_change_the_size(size, took_s):
    assert next_size(size, (size - 1) // 2, took_s, TIMEOUT_S) == size


@given(SIZES, st.floats(0, 1), st.floats(0, 1))
def test_a_slower_chunk_is_not_followed_by_a_larger_one(size, one_s, other_s):
    quick_s, slow_s = sorted((one_s, other_s))
    assert next_size(size, size, slow_s, TIMEOUT_S) <= next_size(size, size, quick_s, TIMEOUT_S)


@given(st.floats(300_000, 10**9), st.floats(0, 0.005))
def test_size_settles_where_a_chunk_takes_less_than_half_of_the_timeout(bytes_per_s, round_trip_s):
    def took_s(size):
        return round_trip_s + size / bytes_per_s

    size = START_BYTES
    for _ in range(20):
        size = next_size(size, size, took_s(size), TIMEOUT_S)
    assert took_s(size) <= TIMEOUT_S / 2 or size == MIN_BYTES
    assert took_s(size) >= TIMEOUT_S / 8 or size == MAX_BYTES


@given(st.none() | st.integers(1, 10**6))
def test_a_chunk_has_at_least_one_key_and_is_bounded(value_bytes):
    size = ChunkSize(TIMEOUT_S)
    for _ in range(20):
        keys = size.keys(value_bytes)
        assert 1 <= keys <= MAX_KEYS
        assert keys == 1 or keys * (value_bytes or 1) <= MAX_BYTES
        size.record(size.bytes, 0.0)


# Look-ups


@pytest.fixture(scope="module")
def stored(valkey):
    """2,048 keys; the server has their vectors."""
    return store(valkey, 2048)


def store(valkey, number):
    """Store the vectors of so many new keys; return the keys."""
    keys = [os.urandom(20) for _ in range(number)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        be_patient(monkeypatch)
        cache = SharedCache(valkey.url, 3600, timeout=PATIENT_S)
        for start in range(0, number, 2048):  # no more than may wait to be written
            written = keys[start : start + 2048]
            level(cache, "m", WIDTH).put((key, vector(key)) for key in written)
            assert cache.flush()
        assert (cache.written, cache.dropped) == (number, 0)
        cache.close()
    return keys


@pytest.fixture
def over(valkey, patient_steps):
    """Makes a cache over a link with this many bytes/s; returns cache and link."""
    with contextlib.ExitStack() as stack:

        def over(bytes_per_s, timeout_s=TIMEOUT_S):
            relay = SlowRelay(valkey.port, bytes_per_s)
            port = stack.enter_context(talking(relay))
            cache = SharedCache(f"redis://127.0.0.1:{port}", 3600, timeout=timeout_s)
            stack.callback(cache.close)
            eventually(lambda: cache.remote.ready() and not cache.remote.breaker.is_open)
            return cache, relay

        yield over


def vector(key):
    """An entry that only this key has."""
    return Entry(key * (WIDTH * 4 // len(key)) + key[: WIDTH * 4 % len(key)], 5)


def look_up(cache, keys):
    """Look keys up; return the number found, which must be the first keys, and the seconds."""
    start = time.monotonic()
    found = level(cache, "m", WIDTH).find(keys)
    seconds = time.monotonic() - start
    number = len(found) - found.count(None)
    assert len(found) == len(keys)
    assert [known and known[0] for known in found] == [
        *map(vector, keys[:number]),
        *[None] * (len(keys) - number),
    ]
    return number, seconds


class LookUps:
    """Look-ups in one cache, each repeated until it is as it must be."""

    def __init__(self, cache):
        self.cache, self.keys, self.empty = cache, 0, 0

    def until(self, is_good, keys):
        """Repeat a look-up until ``is_good`` of the number found, and of the seconds."""

        def ask():
            found = look_up(self.cache, keys)
            self.keys += len(keys)
            self.empty += not found[0]
            return is_good(*found)

        eventually(ask)


@pytest.mark.parametrize("megabytes_per_s", [1, 10])
def test_chunks_received_before_the_timeout_are_used(over, stored, megabytes_per_s):
    cache, relay = over(megabytes_per_s * 1e6)
    asks = LookUps(cache)
    for size in (1024, 2048, 1024):
        asks.until(lambda n, seconds, m=size: 0 < n < m and seconds < AT_MOST_S, stored[:size])
        asks.until(lambda n, _: n == 1, stored[:1])
    assert cache.hits + cache.misses + cache.lost == asks.keys
    assert cache.misses == 0
    assert not cache.remote.breaker.is_open
    eventually(lambda: cache.remote._helpers.in_flight == 0)
    # One for each thread that asks at a time: the background's, a chunk's, and that of the look-up
    # beside it. None is lost, or there would be one for each look-up. (Each that failed may keep
    # one, and each third opens the breaker, which closes all.)
    assert relay.connections <= 3 + 2 * asks.empty


def test_8192_vectors_keep_the_timeout_and_what_came_is_used(valkey, patient_steps):
    keys = store(valkey, 8192)
    cache = SharedCache(valkey.url, 3600, timeout=TIMEOUT_S)
    asks = LookUps(cache)
    asks.until(lambda n, _: n == 1, keys[:1])  # the first waits for a probe
    failures, empty = cache.remote.failures, asks.empty
    with valkey.client() as client:
        before = client.info("stats")["total_connections_received"]
        for _ in range(3):
            asks.until(lambda n, seconds: n > 0 and seconds < AT_MOST_S, keys)
            asks.until(lambda n, _: n == 1, keys[:1])  # beside the end of the last chunk
        eventually(lambda: cache.remote._helpers.in_flight == 0)
        after = client.info("stats")["total_connections_received"]
    empty = asks.empty - empty
    # One that is busy with the last chunk, and one beside it; of those that failed as above.
    assert after - before <= 2 + 2 * empty
    assert cache.remote.failures - failures <= empty
    assert not cache.remote.breaker.is_open
    cache.close()


def test_bytes_in_flight_are_those_of_one_chunk(over, stored):
    cache, relay = over(20e6)
    look_up(cache, stored)  # finds a size
    eventually(lambda: cache.remote._helpers.in_flight == 0)
    before = relay.relayed
    number, _ = look_up(cache, stored)
    eventually(lambda: cache.remote._helpers.in_flight == 0)
    used = number * (WIDTH * 4 + 100)
    assert relay.relayed - before <= used + MAX_BYTES


def test_all_keys_are_found_in_order_within_a_long_timeout(over, stored):
    cache, _ = over(1e9, timeout_s=PATIENT_S)
    assert look_up(cache, stored)[0] == len(stored)
    assert cache.hits == len(stored)


def test_missing_keys_stay_in_their_places(over, stored):
    cache, _ = over(1e9, timeout_s=PATIENT_S)
    mixed = [key for pair in zip(stored, stored[::-1], strict=True) for key in pair]
    keys = [key if place % 3 else key[::-1] for place, key in enumerate(mixed)]
    found = level(cache, "m", WIDTH).get(keys)
    assert found == [vector(key) if place % 3 else None for place, key in enumerate(mixed)]
    assert cache.misses == found.count(None)


def test_chunks_before_a_broken_connection_are_used(over, stored):
    cache, _ = over(1e9, timeout_s=PATIENT_S)
    keys = cache._chunk_size.keys(WIDTH * 4)
    replies = iter([[b"", *[None] * (keys - 1)], ConnectionError("gone")])

    class Breaks:
        def mget(self, names):
            reply = next(replies)
            if isinstance(reply, Exception):
                raise reply
            return reply

    cache.remote._client, before = Breaks(), cache.remote._client
    assert level(cache, "m", WIDTH).get(stored[: 3 * keys]) == [None] * 3 * keys
    assert (cache.spoiled, cache.misses, cache.lost) == (1, keys, 2 * keys)
    assert cache.remote.failures == 1
    cache.remote._client = before


# Writes


def test_a_write_is_bounded_in_entries_and_bytes(valkey):
    cache = SharedCache(valkey.url, 3600)  # its background task is not started
    space, key = SharedSpace(b"m", "prefix:", WIDTH), os.urandom(20)
    large = Entry(b"\0" * (MAX_WRITE_BYTES + 1), 1)
    entries = [vector(key)] * 100 + [large] * 2 + [Entry(b"\0" * 4, 1)] * 600
    cache._queue.extend((space, key, entry) for entry in entries)
    batches = []
    while batch := cache._take():
        batches.append([entry for _, _, entry in batch])
    assert [entry for batch in batches for entry in batch] == entries
    for batch in batches:
        assert len(batch) <= MAX_WRITE_ENTRIES
        assert len(batch) == 1 or sum(len(entry.row) for entry in batch) <= MAX_WRITE_BYTES
