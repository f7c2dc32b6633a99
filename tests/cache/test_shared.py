"""The cache shared by workers, in a real Valkey: values, expiry, failures."""

import logging
import struct
import time
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache import make_cache, shared
from app.cache.codec import VALUE_OVERHEAD_BYTES, VERSION, decode, encode
from app.cache.memory import CacheStats, MemoryCache, SharedStats
from app.cache.shared import SharedCache
from app.cache.tiered import TieredCache
from app.config import CacheSettings
from app.domain import Entry
from tests.cache.contract import CacheContract, entry, key
from tests.support.server import eventually, free_port

TTL = 3600


@pytest.fixture
def make(valkey, redis):
    """Makes shared caches; each stands for one worker."""
    made = []

    def make(ttl=TTL, url=valkey.url, **options):
        made.append(SharedCache(url, ttl, timeout=0.5, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def make_tiered(make):
    """Makes caches of both levels; each stands for one worker."""

    def tiered(ttl=TTL, clock=time.monotonic, **options):
        def second(cleared, report):
            return make(ttl, cleared=cleared, report=report, **options)

        return TieredCache(MemoryCache(2**20, ttl, clock), second)

    return tiered


class Flushed:
    """A cache whose `put` waits until all is written, which the contract needs."""

    def __init__(self, levels, space):
        self._shared, self._space = levels, space

    def get(self, keys):
        return self._space.get(keys)

    def put(self, entries):
        self._space.put(entries)
        assert self._shared.flush()


class TestSharedContract(CacheContract):
    """The shared cache passes the tests of every cache."""

    @pytest.fixture
    def cache(self, make):
        cache = make()
        return Flushed(cache, cache.for_space("model", None))


class TestTieredContract(CacheContract):
    """Both levels together pass the tests of every cache."""

    @pytest.fixture
    def cache(self, make_tiered):
        return make_tiered().for_space("model", None)


class TestFilledContract(CacheContract):
    """A worker that reads all entries from the second level passes them too."""

    @pytest.fixture
    def cache(self, make_tiered):
        class Apart:
            def get(self, keys):
                return make_tiered().for_space("model", None).get(keys)

            def put(self, entries):
                writer = make_tiered()
                writer.for_space("model", None).put(entries)
                assert writer.shared.flush()

        return Apart()

    def test_threads_can_use_a_cache_concurrently(self, cache):
        """Not with a new worker for each look-up, which the other two classes test."""


# Values


@given(
    st.binary(min_size=1, max_size=24),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.binary(max_size=255),
)
def test_decode_reverses_encode(key, tokens, width, space):
    kept = Entry(bytes(range(4 * width)), tokens)
    value = encode(key, kept, 1234.567, space)
    assert decode(key, value, width, space) == (kept, 1234.567)
    assert decode(key, value, None, space) == (kept, 1234.567)
    assert len(value) == VALUE_OVERHEAD_BYTES + len(space) + 4 * width


@given(st.text(max_size=100), st.text(max_size=100), st.none() | st.just(2))
def test_value_of_another_space_is_no_value(one, other, width):
    value = encode(b"k", Entry(b"12345678", 1), 1.0, one.encode()[:255])
    assert (decode(b"k", value, width, other.encode()[:255]) is None) == (one != other)


def test_token_count_is_limited_to_the_largest_of_the_layout():
    decoded = decode(b"k", encode(b"k", Entry(b"1234", 2**40), 1, b"s"), 1, b"s")
    assert decoded[0].tokens == 2**32 - 1


GOOD = encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"s")


@pytest.mark.parametrize(
    ("value", "width"),
    [
        (b"", 4),
        (b"", None),
        (b"garbage", None),
        (b"x" * len(GOOD), 4),
        (GOOD, 5),
        (GOOD[:-4], 4),
        (GOOD[:-4], None),
        (GOOD[:-1], None),
        (GOOD + b"\0\0\0\0", None),
        (GOOD[:17], None),
        (bytes([VERSION + 1]) + GOOD[1:], 4),
        (GOOD[:20] + bytes([GOOD[20] ^ 1]) + GOOD[21:], 4),
        (encode(b"other key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"s"), 4),
        (encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b"t"), 4),
        (encode(b"key", Entry(b"\x01\x02\x03\x04" * 4, 7), 1000.0, b""), None),
    ],
)
def test_damaged_value_is_not_decoded(value, width):
    assert decode(b"key", value, width, b"s") is None


@given(st.binary(max_size=60), st.none() | st.integers(1, 10))
def test_random_bytes_are_not_decoded(value, width):
    assert decode(b"key", value, width, b"s") is None


def test_value_layout_is_unchanged():
    """A server outlives releases, so a new layout needs a new version."""
    rest = struct.pack("<IQB", 7, 1_000_000, 1) + b"s" + b"\x01\x02\x03\x04" * 4
    assert struct.pack("<BI", 2, crc32(rest, crc32(b"key"))) + rest == GOOD


# Several workers


def test_entry_of_one_worker_is_found_by_another_and_kept_in_memory(make_tiered, redis):
    one, other = make_tiered(), make_tiered()
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.shared.flush()
    assert other.for_space("m", 8).get([key(1), key(2)]) == [entry(1), None]
    redis.flushdb()
    assert other.for_space("m", 8).get([key(1), key(2)]) == [entry(1), None]
    assert other.shared.stats() == CacheStats(1, 2, shared=SharedStats())
    assert one.shared.stats() == CacheStats(0, 0, shared=SharedStats(written=1))
    assert [level for level, _ in other.levels()] == ["memory", "redis"]


def test_only_misses_of_the_memory_are_looked_up_in_one_call(make_tiered, redis):
    one, other = make_tiered(), make_tiered()
    one.for_space("m", 8).put((key(n), entry(n)) for n in range(64))
    assert one.shared.flush()
    other.for_space("m", 8).get([key(0)])
    before = redis.info("commandstats")["cmdstat_mget"]["calls"]
    assert other.for_space("m", 8).get([key(n) for n in range(64)]) == [entry(n) for n in range(64)]
    assert other.for_space("m", 8).get([key(n) for n in range(64)]) == [entry(n) for n in range(64)]
    assert redis.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    assert other.shared.stats() == CacheStats(64, 0, shared=SharedStats())


def test_widths_and_spaces_do_not_meet(make):
    cache = make()
    cache.for_space("m", 8).put([(key(1), entry(1))])
    assert cache.flush()
    assert cache.for_space("m", 9).get([key(1)]) == [None]
    assert cache.spoiled == 1
    assert cache.for_space("n", 8).get([key(1)]) == [None]
    assert cache.for_space("m", None).get([key(1)]) == [entry(1)]


def test_namespaces_have_different_entries(make, redis):
    one, other = make(namespace="one"), make(namespace="other")
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.flush()
    assert other.for_space("m", 8).get([key(1)]) == [None]
    assert all(name.startswith(b"one:2:v:") for name in redis.keys("*"))


@pytest.mark.parametrize("spoil", [b"", b"garbage", b"\xff" * 49, None])
def test_a_damaged_value_is_a_miss_and_is_overwritten(make, redis, spoil):
    cache = make()
    cache.for_space("m", 8).put([(key(1), entry(1)), (key(2), entry(2))])
    assert cache.flush()
    one, two = sorted(redis.keys("*:v:*"))
    redis.set(one, redis.get(two) if spoil is None else spoil, keepttl=True)
    assert cache.for_space("m", 8).get([key(1), key(2)]) == [None, entry(2)]
    assert cache.spoiled == 1
    cache.for_space("m", 8).put([(key(1), entry(1))])
    assert cache.flush()
    assert cache.for_space("m", 8).get([key(1), key(2)]) == [entry(1), entry(2)]


def test_a_value_of_another_type_is_a_miss(make, redis):
    cache = make()
    cache.for_space("m", 8).put([(key(1), entry(1))])
    assert cache.flush()
    (name,) = redis.keys("*:v:*")
    redis.delete(name)
    redis.lpush(name, "a list")
    assert cache.for_space("m", 8).get([key(1)]) == [None]


# Expiry


def test_a_second_write_does_not_extend_ttl(make, redis):
    now = [1_000_000.0]
    one, other = make(clock=lambda: now[0]), make(clock=lambda: now[0])
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.flush()
    (name,) = redis.keys("*:v:*")
    redis.pexpire(name, 1_800_000)
    now[0] += 1800
    other.for_space("m", 8).put([(key(1), entry(2))])
    assert other.flush()
    assert 1_799_000 < redis.pttl(name) <= 1_800_000
    ((found, left),) = other.for_space("m", 8).find([key(1)])
    assert found == entry(2)
    assert 1799 < left <= 1800


def test_entry_in_memory_expires_with_that_of_the_second_level(make_tiered, redis):
    wall, steady = [1_000_000.0], [50.0]
    one = make_tiered(clock=lambda: wall[0])
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.shared.flush()
    wall[0] += 3000
    other = make_tiered(clock=lambda: steady[0])
    other.shared._clock = lambda: wall[0]
    one.shared._clock = other.shared._clock
    redis_entry = one.shared.for_space("m", 8).find([key(1)])
    assert redis_entry[0][0] == entry(1)
    other.for_space("m", 8).get([key(1)])
    redis.flushdb()
    left = redis_entry[0][1]
    steady[0] += left - 1
    assert other.for_space("m", 8).get([key(1)]) == [entry(1)]
    steady[0] += 2
    assert other.for_space("m", 8).get([key(1)]) == [None]


@pytest.mark.parametrize(("ahead", "kept"), [(10_000, TTL), (-10_000, 0)])
def test_wrong_clock_of_a_host_does_not_extend_ttl(make, ahead, kept):
    now = time.time()
    one, other = make(clock=lambda: now + ahead), make(clock=lambda: now)
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.flush()
    ((found, left),) = other.for_space("m", 8).find([key(1)])
    assert found == entry(1)
    assert left <= kept


def test_expired_entry_of_the_server_is_used_but_not_kept_in_memory(make_tiered, redis):
    now = time.time()
    one, other = make_tiered(), make_tiered()
    one.shared._clock = lambda: now - 2 * TTL
    one.for_space("m", 8).put([(key(1), entry(1))])
    assert one.shared.flush()
    assert other.for_space("m", 8).get([key(1)]) == [entry(1)]
    redis.flushdb()
    assert other.for_space("m", 8).get([key(1)]) == [None]


def test_server_removes_expired_entries(make, redis):
    cache = make(ttl=0.2)
    cache.for_space("m", 8).put([(key(1), entry(1))])
    assert cache.flush()
    eventually(lambda: not redis.keys("*:v:*"))


# Failures


def test_unreachable_server_is_a_miss_within_the_timeout(make, caplog):
    logging.getLogger("app").propagate = True
    cache = make(url=f"redis://:secret@127.0.0.1:{free_port()}")
    start = time.monotonic()
    space = cache.for_space("m", 8)
    assert space.get([key(1), key(2)]) == [None, None]
    space.put([(key(1), entry(1))])
    assert time.monotonic() - start < 0.5
    told = SharedStats(lost=2, dropped=1, away=True)
    assert cache.stats() == CacheStats(0, 2, shared=told)
    assert "cache: redis://127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


def test_number_of_waiting_writes_is_bounded(make, monkeypatch):
    monkeypatch.setattr(shared, "MAX_QUEUED_BYTES", 100)
    cache = make()
    space = cache.for_space("m", 8)
    space.put((key(n), entry(n)) for n in range(10))
    assert cache.flush()
    eventually(lambda: cache.written + cache.dropped == 10)
    assert cache.dropped >= 7


def test_a_full_server_can_be_read(make, redis):
    cache = make()
    space = cache.for_space("m", 8)
    space.put([(key(1), entry(1))])
    assert cache.flush()
    redis.config_set("maxmemory", 1)
    try:
        for n in range(5):
            space.put([(key(10 + n), entry(2))])
            assert cache.flush()
            assert space.get([key(1), key(10 + n)]) == [entry(1), None]
    finally:
        redis.config_set("maxmemory", 0)
    assert cache.dropped == 5


def test_failed_writes_are_counted(make, redis):
    cache = make()
    space = cache.for_space("m", 8)

    class Broken:
        def pipeline(self, **_):
            raise OSError("gone")

    space.put([])
    cache._queue.append((space, key(1), entry(1)))
    with pytest.raises(OSError, match="gone"):
        cache._chores(Broken(), False)
    assert cache.dropped == 1


def test_look_up_of_no_keys_makes_no_call(make, redis):
    cache = make()
    assert cache.for_space("m", 8).get([]) == []
    assert cache.remote.calls == 0


def test_settings_select_the_cache(valkey, redis):
    assert make_cache(None) is None
    assert isinstance(make_cache(CacheSettings()), MemoryCache)
    both = make_cache(CacheSettings(url=valkey.url, namespace="n"))
    both.for_space("m", 8).put([(key(1), entry(1))])
    assert both.shared.flush()
    assert redis.keys("n:2:v:*")
    both.close()
    memory = make_cache(CacheSettings())
    assert memory.for_space("m", 8) is memory
    assert [(level, stats()) for level, stats in memory.levels()] == [
        ("memory", CacheStats(0, 0, 0, 0, 0))
    ]
    memory.close()
