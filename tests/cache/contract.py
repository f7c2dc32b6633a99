"""What every cache promises, whatever it keeps entries in. Subclass it and give it a ``cache``."""

import threading

import pytest

from app.domain import Entry


def key(number):
    """A key as `app.cache.keys` makes them."""
    return number.to_bytes(20, "big")


def entry(number, width=8):
    """An entry whose bytes and tokens tell which it is."""
    return Entry(number.to_bytes(4, "little") * width, number)


class CacheContract:
    """The tests. A ``cache`` fixture gives an empty cache with room for a hundred small entries."""

    @pytest.fixture
    def cache(self):
        raise NotImplementedError

    def test_it_is_empty_at_first(self, cache):
        assert cache.get([key(1), key(2)]) == [None, None]

    def test_what_was_put_comes_back_equal(self, cache):
        cache.put([(key(1), entry(1)), (key(2), entry(2, width=1536))])
        assert cache.get([key(1), key(2)]) == [entry(1), entry(2, width=1536)]

    def test_rows_come_back_as_bytes(self, cache):
        cache.put([(key(1), entry(1))])
        (found,) = cache.get([key(1)])
        assert type(found.row) is bytes
        assert type(found.tokens) is int

    def test_answers_align_with_the_keys_asked_for(self, cache):
        cache.put((key(n), entry(n)) for n in range(0, 20, 2))
        asked = [5, 4, 0, 4, 19, 18, 4]
        assert cache.get([key(n) for n in asked]) == [None if n % 2 else entry(n) for n in asked]

    def test_no_keys_no_entries(self, cache):
        cache.put([])
        assert cache.get([]) == []

    def test_a_later_entry_replaces_an_earlier_one(self, cache):
        cache.put([(key(1), entry(1)), (key(1), entry(2))])
        cache.put([(key(3), entry(3))])
        cache.put([(key(3), entry(4))])
        assert cache.get([key(1), key(3)]) == [entry(2), entry(4)]

    def test_keys_are_bytes_not_prefixes(self, cache):
        cache.put([(b"\x00" * 20, entry(1))])
        assert cache.get([b"\x00" * 19 + b"\x01", b"\x00" * 20]) == [None, entry(1)]

    def test_many_threads_may_use_it_at_once(self, cache):
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
