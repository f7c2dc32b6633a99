"""The cache of one worker, in its memory: bounded in time to live and in bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from cachetools import TLRUCache

from app.concurrency.locks import uncontended_lock
from app.domain import Entry

#: Bytes that an entry takes beside its vector: key, tuple, and cachetools' links and dictionaries.
#: Measured with tracemalloc (tests/cache/test_memory.py holds it).
OVERHEAD_BYTES = 640


@dataclass(frozen=True, slots=True)
class SharedStats:
    """Counts of items of a level in a server. Lost and spoiled items are misses too."""

    lost: int = 0  # not looked up within the timeout: the server was slow or unreachable
    spoiled: int = 0  # corrupt, or of another layout, width or space
    written: int = 0
    dropped: int = 0  # never written: the server was away, or the queue full
    away: bool = False  # the server, now


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts of items found, not found and evicted; the size now, where the level knows it."""

    hits: int
    misses: int
    evictions: int = 0
    bytes: int | None = None
    entries: int | None = None
    shared: SharedStats | None = None


class Cache(Protocol):
    """Entries by key, many at a time."""

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """Return the entry of each key, in order; None where there is none."""

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Store entries. The cache may evict any of them at any time."""


class Caches(Protocol):
    """Gives the cache for a vector space and a width of its vectors."""

    def for_space(self, space: str, width: int | None) -> Cache:
        """Return the cache for one request. ``width`` None: any."""

    def levels(self) -> list[tuple[str, Callable[[], CacheStats]]]:
        """Return each level's name and its counts, for the metrics."""

    def close(self) -> None:
        """Close connections and end background tasks."""


class _Entries(TLRUCache[bytes, Entry]):
    """A TLRU that counts evictions."""

    evictions = 0

    def popitem(self) -> tuple[bytes, Entry]:
        self.evictions += 1
        return super().popitem()


class MemoryCache:
    """A TTL LRU bounded in bytes. The lock guards all fields; nothing waits under it."""

    def __init__(
        self, max_bytes: int, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries = _Entries(max_bytes, self._end, clock, _size)
        self._ttl = self._life = ttl
        self._lock = uncontended_lock()
        self.hits = self.misses = 0  # items

    def for_space(self, space: str, width: int | None) -> Self:
        """Return the cache itself: keys hold the space, and widths do not change in a process."""
        return self

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        entries, found = self._entries, list[Entry | None]()
        with self._lock, entries.timer:  # one reading of the clock for all keys
            for key in keys:
                try:
                    found.append(entries[key])
                except KeyError:  # not `get`, which would look each of them up twice
                    found.append(None)
            hits = sum(1 for entry in found if entry is not None)
            self.hits += hits
            self.misses += len(keys) - hits
        return found

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        with self._lock:
            self._life = self._ttl
            for key, entry in entries:
                self._keep(key, entry)

    def fill(self, entries: Iterable[tuple[bytes, Entry, float]]) -> None:
        """Store entries of another level, each with its remaining time to live in seconds."""
        with self._lock:
            for key, entry, left in entries:
                self._life = min(left, self._ttl)
                self._keep(key, entry)

    def levels(self) -> list[tuple[str, Callable[[], CacheStats]]]:
        return [("memory", self.stats)]

    def close(self) -> None:
        """Nothing is held."""

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def stats(self) -> CacheStats:
        """Return the counts of items, and the size now."""
        with self._lock:
            entries = self._entries
            held, number = int(entries.currsize), len(entries)
            return CacheStats(self.hits, self.misses, entries.evictions, held, number)

    def _keep(self, key: bytes, entry: Entry) -> None:
        if _size(entry) <= self._entries.maxsize:
            self._entries[key] = entry

    def _end(self, key: bytes, entry: Entry, now: float) -> float:
        return now + self._life


def _size(entry: Entry) -> int:
    return len(entry.row) + OVERHEAD_BYTES
