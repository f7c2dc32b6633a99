"""The cache shared by workers, in a real Valkey: hits of other workers; a failure is a miss."""

import logging
import time

import pytest

from app.cache import make_cache, shared
from app.cache.entries import digest
from app.cache.memory import CacheStats, MemoryCache, SharedStats
from app.cache.shared import SharedSpace
from app.config import CacheSettings
from tests.cache.contract import CacheContract, entry, key
from tests.cache.levels import level
from tests.redis.patience import PATIENT_S
from tests.support.server import eventually, free_port


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
        return Flushed(cache, level(cache, "model", None))


class TestTieredContract(CacheContract):
    """Both levels together pass the tests of every cache."""

    @pytest.fixture
    def cache(self, make_tiered):
        return level(make_tiered(), "model", None)


class TestFilledContract(CacheContract):
    """A worker that reads all entries from the second level passes them too."""

    @pytest.fixture
    def cache(self, make_tiered):
        class Apart:
            def get(self, keys):
                return level(make_tiered(), "model", None).get(keys)

            def put(self, entries):
                writer = make_tiered()
                level(writer, "model", None).put(entries)
                assert writer.shared.flush()

        return Apart()

    def test_threads_can_use_a_cache_concurrently(self, cache):
        """Not with a new worker for each look-up, which the other two classes test."""


def test_entry_of_one_worker_is_found_by_another_and_kept_in_memory(make_tiered, redis):
    one, other = make_tiered(), make_tiered()
    level(one).put([(key(1), entry(1))])
    assert one.shared.flush()
    assert level(other).get([key(1), key(2)]) == [entry(1), None]
    redis.flushdb()
    assert level(other).get([key(1), key(2)]) == [entry(1), None]
    assert other.shared.stats() == CacheStats(1, 2, shared=SharedStats())
    assert one.shared.stats() == CacheStats(0, 0, shared=SharedStats(written=1))
    assert [level for level, _ in other.levels()] == ["memory", "redis"]


def test_only_misses_of_the_memory_are_looked_up_in_one_call(make_tiered, redis):
    one, other = make_tiered(), make_tiered()
    level(one).put((key(n), entry(n)) for n in range(64))
    assert one.shared.flush()
    level(other).get([key(0)])
    before = redis.info("commandstats")["cmdstat_mget"]["calls"]
    assert level(other).get([key(n) for n in range(64)]) == [entry(n) for n in range(64)]
    assert level(other).get([key(n) for n in range(64)]) == [entry(n) for n in range(64)]
    assert redis.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    assert other.shared.stats() == CacheStats(64, 0, shared=SharedStats())


def test_widths_and_spaces_do_not_meet(make):
    cache = make()
    level(cache).put([(key(1), entry(1))])
    assert cache.flush()
    assert level(cache, "m", 9).get([key(1)]) == [None]
    assert cache.spoiled == 1
    assert level(cache, "n", 8).get([key(1)]) == [None]
    assert level(cache, "m", None).get([key(1)]) == [entry(1)]


def test_namespaces_have_different_entries(make, redis):
    one, other = make(namespace="one"), make(namespace="other")
    level(one).put([(key(1), entry(1))])
    assert one.flush()
    assert level(other).get([key(1)]) == [None]
    assert all(name.startswith(b"one:2:v:") for name in redis.keys("*"))


@pytest.mark.parametrize("spoil", [b"", b"garbage", b"\xff" * 49, None])
def test_a_damaged_value_is_a_miss_and_is_overwritten(make, redis, spoil):
    cache = make()
    level(cache).put([(key(1), entry(1)), (key(2), entry(2))])
    assert cache.flush()
    one, two = sorted(redis.keys("*:v:*"))
    redis.set(one, redis.get(two) if spoil is None else spoil, keepttl=True)
    assert level(cache).get([key(1), key(2)]) == [None, entry(2)]
    assert cache.spoiled == 1
    level(cache).put([(key(1), entry(1))])
    assert cache.flush()
    assert level(cache).get([key(1), key(2)]) == [entry(1), entry(2)]


def test_a_value_of_another_type_is_a_miss(make, redis):
    cache = make()
    level(cache).put([(key(1), entry(1))])
    assert cache.flush()
    (name,) = redis.keys("*:v:*")
    redis.delete(name)
    redis.lpush(name, "a list")
    assert level(cache).get([key(1)]) == [None]


def test_unreachable_server_is_a_miss_within_the_timeout(make, caplog):
    logging.getLogger("app").propagate = True
    cache = make(url=f"redis://:secret@127.0.0.1:{free_port()}")
    start = time.monotonic()
    space = level(cache)
    assert space.get([key(1), key(2)]) == [None, None]
    space.put([(key(1), entry(1))])
    assert time.monotonic() - start < PATIENT_S / 2  # which is the timeout
    told = SharedStats(lost=2, dropped=1, away=True)
    assert cache.stats() == CacheStats(0, 2, shared=told)
    assert "cache: redis://127.0.0.1" in caplog.text
    assert "secret" not in caplog.text


def test_number_of_waiting_writes_is_bounded(make, monkeypatch):
    monkeypatch.setattr(shared, "MAX_QUEUED_BYTES", 100)
    cache = make()
    space = level(cache)
    space.put((key(n), entry(n)) for n in range(10))
    assert cache.flush()
    eventually(lambda: cache.written + cache.dropped == 10)
    assert cache.dropped >= 7


def test_a_full_server_can_be_read(make, redis):
    cache = make()
    space = level(cache)
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
    space = SharedSpace(b"m", "prefix:", 8)  # without `ready`, which would start to write

    class Broken:
        def pipeline(self, **_):
            raise OSError("gone")

    cache._queue.append((space, key(1), entry(1)))
    with pytest.raises(OSError, match="gone"):
        cache._chores(Broken(), False)
    assert cache.dropped == 1


def test_look_up_of_no_keys_makes_no_call(make, redis):
    cache = make()
    assert level(cache).get([]) == []
    assert cache.remote.calls == 0


def test_settings_select_the_cache(valkey, redis):
    assert make_cache(None) is None
    assert isinstance(make_cache(CacheSettings()), MemoryCache)
    both = make_cache(CacheSettings(url=valkey.url, namespace="n", timeout=PATIENT_S))
    level(both).put([(key(1), entry(1))])
    assert both.shared.flush()
    assert redis.keys("n:2:v:*")
    both.close()
    memory = make_cache(CacheSettings())
    assert memory.for_space("m", 8) is memory
    assert [(level, stats()) for level, stats in memory.levels()] == [
        ("memory", CacheStats(0, 0, 0, 0, 0))
    ]
    memory.close()


def test_a_clear_while_a_request_begins_leaves_it_no_old_vector_in_memory(
    make_tiered, redis, monkeypatch
):
    cache = make_tiered()
    level(cache).put([(key(1), entry(1))])
    assert cache.shared.flush()
    for_space, before = cache.shared.for_space, cache._epoch

    def cleared_after_it(*arguments):
        space = for_space(*arguments)
        # What `clear` does first: its entries are still in the server.
        redis.hset(cache.shared.names.generations, digest("m"), "1234abcd")
        eventually(lambda: cache._epoch > before)
        return space

    with monkeypatch.context() as patch:
        patch.setattr(cache.shared, "for_space", cleared_after_it)
        level(cache).get([key(1)])
    assert level(cache).get([key(1)]) == [None]
