"""Items that a deployment has refused with 400: they are not merged with others for a while."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from hashlib import blake2b

from cachetools import TTLCache

from app.concurrency.locks import uncontended_lock
from app.domain import Item

_HINT_CHARACTERS = 32  # of the end of a text
_HINT_TOKENS = 8


class RefusedItems:
    """A bounded set of the hashes of items; each is forgotten after ``ttl`` seconds.

    The hashes are keyed with a secret of the process, so that no text can be guessed from a memory
    dump. They would take milliseconds for a request of thousands of items. So only those items are
    hashed whose hint (see `_hint`), which takes a fraction of that, is the hint of a refused one.

    The lock guards ``_hashes`` and ``_now``, and the changes of the other fields.
    """

    def __init__(self, max_items: int, ttl: float) -> None:
        self._now = 0.0
        self._ttl = ttl
        #: The hint of each item, by the hash of the item.
        self._hashes: TTLCache[bytes, int] = TTLCache(max_items, ttl, lambda: self._now)
        #: The hints of these items, and of some forgotten ones: at most twice as many in all.
        self._hints: set[int] = set()
        self._empty_from = float("-inf")  # when the last item is forgotten
        self._salt = int.from_bytes(os.urandom(8))  # of the hints
        self._key = os.urandom(16)
        self._lock = uncontended_lock()

    def add(self, items: Sequence[Item], now: float) -> None:
        """Remember items that were refused in a call of their own."""
        if not self._hashes.maxsize:
            return
        with self._lock:
            self._now = now
            self._empty_from = max(self._empty_from, now + self._ttl)
            for item in items:
                hint = self._hashes[self._hash(item)] = self._hint(item)
                self._hints.add(hint)
                if len(self._hints) > 2 * self._hashes.maxsize:
                    self._hints = set(self._hashes.values())

    def has_any(self, items: Sequence[Item], now: float) -> bool:
        """Whether one of the items was refused lately."""
        if now >= self._empty_from:  # nearly always
            return False
        hints = self._hints
        similar = [item for item in items if self._hint(item) in hints]
        if not similar:
            return False
        with self._lock:
            self._now = now
            return any(self._hash(item) in self._hashes for item in similar)

    def _hash(self, item: Item) -> bytes:
        if isinstance(item, str):
            encoded, person = item.encode("utf-8", "surrogatepass"), b"text"
        else:
            # A sixth of the time that their `repr` takes: a request may have a million.
            encoded, person = array("Q", item).tobytes(), b"token ids"
        return blake2b(encoded, digest_size=16, key=self._key, person=person).digest()

    def _hint(self, item: Item) -> int:
        """Return a number that equal items have, and few others: of the length and the end."""
        if isinstance(item, str):
            return hash((self._salt, len(item), item[-_HINT_CHARACTERS:]))
        return hash((self._salt, len(item), *item[-_HINT_TOKENS:]))
