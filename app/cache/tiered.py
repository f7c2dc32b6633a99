"""The two cache levels as one: the worker's own memory in front of the shared server."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from app.cache.memory import CacheStats, MemoryCache
from app.cache.shared import SharedCache, SharedSpace
from app.domain import Entry


class TieredCache:
    """A memory cache in front of a shared one.

    ``shared`` makes the second level from two functions: one to call when it learns that a space
    was cleared, and one that gives this worker's report for ``cache stats``.
    """

    def __init__(
        self, memory: MemoryCache, shared: Callable[[Callable[[], object], Any], SharedCache]
    ) -> None:
        self._memory = memory
        self._epoch = 0
        self.shared = shared(self._cleared, self._report)

    def for_space(self, space: str, width: int | None) -> TieredSpace:
        """Return both levels for the vectors of one space and width."""
        epoch = self._epoch  # first: a new epoch is never with the names of before a clear
        own = self.shared.for_space(space, width)
        return TieredSpace(self._memory, self.shared, own, epoch)

    def levels(self) -> list[tuple[str, Callable[[], CacheStats]]]:
        """Return each level's name and its counts."""
        return [("memory", self._memory.stats), ("redis", self.shared.stats)]

    def stats(self) -> dict[str, Any]:
        """Return this worker's counts of both levels."""
        own, found = asdict(self._memory.stats()), self.shared.stats()
        own.pop("shared")
        shared = asdict(found.shared) if found.shared is not None else {}
        reachable = not shared.pop("away", False)
        counts = {"hits": found.hits, "misses": self.shared.misses, **shared}
        return {"memory": own, "shared": counts | {"reachable": reachable}}

    def close(self) -> None:
        """Close the connections to the server."""
        self.shared.close()

    def _cleared(self) -> None:
        # All spaces, whichever was cleared: that is rare, and the others are in the second level.
        self._epoch += 1
        self._memory.clear()

    def _report(self) -> tuple[str, bytes]:
        report = {"time": time.time(), **self.stats()}
        return f"{socket.gethostname()}:{os.getpid()}", orjson.dumps(report)


class TieredSpace:
    """Both levels for one vector space, width and epoch: what one request uses.

    The epoch counts how often the cache was cleared, and is part of the keys in memory: a vector
    that was being embedded at a clear is stored under a key that later requests do not ask for.
    """

    def __init__(
        self, memory: MemoryCache, shared: SharedCache, space: SharedSpace, epoch: int
    ) -> None:
        self._memory, self._shared, self._space = memory, shared, space
        self._epoch = epoch.to_bytes(4, "big") if epoch else b""

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        found = self._memory.get(self._keys(keys))
        missing = [place for place, entry in enumerate(found) if entry is None]
        if not missing:
            return found
        filled = []
        wanted = [keys[place] for place in missing]
        for place, known in zip(missing, self._shared.find(self._space, wanted), strict=True):
            if known is not None:
                found[place], left = known
                if left > 0:
                    filled.append((keys[place] + self._epoch, known[0], left))
        if filled:
            self._memory.fill(filled)
        return found

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        entries = list(entries)
        self._memory.put((key + self._epoch, entry) for key, entry in entries)
        self._shared.put(self._space, entries)

    def _keys(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        return [key + self._epoch for key in keys] if self._epoch else keys
