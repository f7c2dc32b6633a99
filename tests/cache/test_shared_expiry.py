"""The time to live of entries in the shared cache, whatever the clocks of hosts say."""

import time

import pytest

from tests.cache.contract import TTL, entry, key
from tests.cache.levels import level
from tests.support.server import eventually


def test_a_second_write_does_not_extend_ttl(make, redis):
    now = [1_000_000.0]
    one, other = make(clock=lambda: now[0]), make(clock=lambda: now[0])
    level(one).put([(key(1), entry(1))])
    assert one.flush()
    (name,) = redis.keys("*:v:*")
    redis.pexpire(name, 1_800_000)
    now[0] += 1800
    level(other).put([(key(1), entry(2))])
    assert other.flush()
    assert 1_700_000 < redis.pttl(name) <= 1_800_000
    ((found, left),) = level(other).find([key(1)])
    assert found == entry(2)
    assert 1700 < left <= 1800


def test_entry_in_memory_expires_with_that_of_the_second_level(make_tiered, redis):
    wall, steady = [1_000_000.0], [50.0]
    one = make_tiered(clock=lambda: wall[0])
    level(one).put([(key(1), entry(1))])
    assert one.shared.flush()
    wall[0] += 3000
    other = make_tiered(clock=lambda: steady[0])
    other.shared._clock = lambda: wall[0]
    one.shared._clock = other.shared._clock
    redis_entry = level(one.shared).find([key(1)])
    assert redis_entry[0][0] == entry(1)
    level(other).get([key(1)])
    redis.flushdb()
    left = redis_entry[0][1]
    steady[0] += left - 1
    assert level(other).get([key(1)]) == [entry(1)]
    steady[0] += 2
    assert level(other).get([key(1)]) == [None]


@pytest.mark.parametrize(("ahead", "kept"), [(10_000, TTL), (-10_000, 0)])
def test_wrong_clock_of_a_host_does_not_extend_ttl(make, ahead, kept):
    now = time.time()
    one, other = make(clock=lambda: now + ahead), make(clock=lambda: now)
    level(one).put([(key(1), entry(1))])
    assert one.flush()
    ((found, left),) = level(other).find([key(1)])
    assert found == entry(1)
    assert left <= kept


def test_expired_entry_of_the_server_is_used_but_not_kept_in_memory(make_tiered, redis):
    now = time.time()
    one, other = make_tiered(), make_tiered()
    one.shared._clock = lambda: now - 2 * TTL
    level(one).put([(key(1), entry(1))])
    assert one.shared.flush()
    assert level(other).get([key(1)]) == [entry(1)]
    redis.flushdb()
    assert level(other).get([key(1)]) == [None]


def test_server_removes_expired_entries(make, redis):
    cache = make(ttl=0.2)
    level(cache).put([(key(1), entry(1))])
    assert cache.flush()
    eventually(lambda: not redis.keys("*:v:*"))
