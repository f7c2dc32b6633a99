"""Tests that every cache passes. Subclass `CacheContract` and add a fixture ``cache``."""

import threading

import pytest

from app.domain import Entry

TTL = 3600  # seconds, of most caches in tests


def key(number):
    """A key as `app.cache.keys` makes them."""
    return number.to_bytes(20, "big")


def entry(number, width=8):
    """An entry with bytes and tokens that no other number has."""
    return Entry(number.to_bytes(4, "little") * width, number)


class CacheContract:
    """The tests. The fixture ``cache`` is an empty cache with room for a hundred small entries."""

    @pytest.fixture
    def cache(self):
        raise NotImplementedError

    def test_a_new_cache_is_empty(self, cache):
        assert cache.get([key(1), key(2)]) == [None, None]

    def test_get_returns_what_was_put(self, cache):
        cache.put([(key(1), entry(1)), (key(2), entry(2, width=1536))])
        assert cache.get([key(1), key(2)]) == [entry(1), entry(2, width=1536)]

    def test_rows_come_back_as_bytes(self, cache):
        cache.put([(key(1), entry(1))])
        (found,) = cache.get([key(1)])
        assert type(found.row) is bytes
        assert type(found.tokens) is int

    def test_get_returns_entries_in_the_order_of_the_keys(self, cache):
        cache.put((key(n), entry(n)) for n in range(0, 20, 2))
        asked = [5, 4, 0, 4, 19, 18, 4]
        assert cache.get([key(n) for n in asked]) == [None if n % 2 else entry(n) for n in asked]

    def test_get_of_no_keys_returns_no_entries(self, cache):
        cache.put([])
        assert cache.get([]) == []

    def test_a_later_entry_replaces_an_earlier_one(self, cache):
        cache.put([(key(1), entry(1)), (key(1), entry(2))])
        cache.put([(key(3), entry(3))])
        cache.put([(key(3), entry(4))])
        assert cache.get([key(1), key(3)]) == [entry(2), entry(4)]

    def test_keys_with_a_common_prefix_differ(self, cache):
        cache.put([(b"\x00" * 20, entry(1))])
        assert cache.get([b"\x00" * 19 + b"\x01", b"\x00" * 20]) == [None, entry(1)]

    def test_threads_can_use_a_cache_concurrently(self, cache):
        wrong = []

        def work(mine):
            for round_ in range(50):
                numbers = [mine * 100 + n for n in range(10)]
                cache.put((key(n), entry(n)) for n in numbers)
                for n, found in zip(numbers, cache.get([key(n) for n in numbers]), strict=True):
                    if found not in (None, entry(n)):
                        wrong.append((round_, n, found))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
