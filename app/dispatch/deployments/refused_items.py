"""Items that a deployment has refused with 400: they are not merged with others for a while."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from hashlib import blake2b

from cachetools import TTLCache

from app.concurrency.locks import uncontended_lock
from app.domain import Item


class RefusedItems:
    """A bounded set of the hashes of items; each is forgotten after ``ttl`` seconds.

    The hashes are keyed with a secret of the process, so that no text can be guessed from a memory
    dump. The lock guards ``_hashes`` and ``_now``.
    """

    def __init__(self, max_items: int, ttl: float) -> None:
        self._now = 0.0
        self._hashes: TTLCache[bytes, None] = TTLCache(max_items, ttl, lambda: self._now)
        self._is_empty = True  # nearly always, so that `has_any` need not take the lock
        self._key = os.urandom(16)
        self._lock = uncontended_lock()

    def add(self, items: Sequence[Item], now: float) -> None:
        """Remember items that were refused in a call of their own."""
        with self._lock:
            self._now = now
            for item in items:
                if self._hashes.maxsize:
                    self._hashes[self._hash(item)] = None
                    self._is_empty = False

    def has_any(self, items: Sequence[Item], now: float) -> bool:
        """Whether one of the items was refused lately."""
        if self._is_empty:
            return False
        with self._lock:
            self._now = now
            self._is_empty = not self._hashes  # once all have expired
            return any(self._hash(item) in self._hashes for item in items)

    def _hash(self, item: Item) -> bytes:
        if isinstance(item, str):
            encoded, person = item.encode("utf-8", "surrogatepass"), b"text"
        else:
            # A sixth of the time that their `repr` takes: a request may have a million.
            encoded, person = array("Q", item).tobytes(), b"token ids"
        return blake2b(encoded, digest_size=16, key=self._key, person=person).digest()
