"""Tokens that a provider has billed for attempts whose requests had ended. No I/O.

A call that requests share goes on when one of them ends early: by its timeout, because its client
has left, or because another call was faster. The provider bills the whole call, and what that
attempt cost is known only then: the next request of its key for the model pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.concurrency.locks import uncontended_lock
from app.domain import Source

MAX_KEYS_REMEMBERED = 10_000
_NOTHING: Mapping[Source, int] = {}


class UnpaidTokens:
    """The unpaid tokens of one model, by key and deployment.

    The lock guards ``_of_key``; it may be taken under the lock of a job.
    """

    def __init__(self) -> None:
        self._of_key: dict[str, dict[Source, int]] = {}
        self._lock = uncontended_lock()

    def add(self, key: str, source: Source, tokens: int) -> None:
        """Record tokens that the next request of a key pays for; the oldest key beyond the limit is
        forgotten."""
        with self._lock:
            unpaid = self._of_key.setdefault(key, {})
            unpaid[source] = unpaid.get(source, 0) + tokens
            if len(self._of_key) > MAX_KEYS_REMEMBERED:
                del self._of_key[next(iter(self._of_key))]

    def take(self, key: str) -> Mapping[Source, int]:
        """Remove and return what a key has to pay."""
        if not self._of_key:
            return _NOTHING
        with self._lock:
            return self._of_key.pop(key, _NOTHING)
