"""The cache of one worker: entries live at most ``ttl`` seconds and hold at most ``max_bytes``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cachetools import TTLCache

from app.domain import Entry
from app.mutex import mutex

#: What an entry takes beside its vector: key, tuple, and cachetools' links and dictionaries.
#: Measured with tracemalloc (tests/cache/test_memory.py holds it).
OVERHEAD_BYTES = 640


class Cache(Protocol):
    """Entries by key, many at a time."""

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """The entry of each key, in order; None where there is none."""

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Keep entries, each as long as the cache sees fit."""


class MemoryCache:
    """A TTL LRU bounded in bytes. The lock guards ``_entries``; nothing waits under it."""

    def __init__(
        self, max_bytes: int, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: TTLCache[bytes, Entry] = TTLCache(max_bytes, ttl, clock, _size)
        self._lock = mutex()

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        with self._lock:
            return [self._entries.get(key) for key in keys]

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        with self._lock:
            for key, entry in entries:
                if _size(entry) <= self._entries.maxsize:
                    self._entries[key] = entry


def _size(entry: Entry) -> int:
    return len(entry.row) + OVERHEAD_BYTES
