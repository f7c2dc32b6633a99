"""The accounts of a pool: the calls that the proxy adds by itself, and the tokens that keys owe.

No I/O. The lock of each may be taken under the lock of a job.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.concurrency.locks import uncontended_lock
from app.domain import Source

MAX_KEYS_REMEMBERED = 10_000
_NOTHING: Mapping[Source, int] = {}


class Budget:
    """Allows extra calls as a share of first calls, so that retries do not overload a provider.

    The first call of each part of a request earns ``ratio`` of an extra call. The budget begins
    with ``start`` extra calls and holds at most ``max_saved``. The lock guards ``_saved``.

    Source: the retry budget of Finagle (twitter.github.io/finagle/guide/Clients.html).
    """

    def __init__(self, ratio: float, start: float, max_saved: float) -> None:
        self._ratio = ratio
        self._max_saved = max_saved
        self._saved = start
        self._lock = uncontended_lock()

    def earn(self, parts: int = 1) -> None:
        """Count the first call of so many parts."""
        with self._lock:
            self._saved = min(self._saved + parts * self._ratio, self._max_saved)

    def can_spend(self, cost: float = 1.0) -> bool:
        """Whether `spend` would succeed now."""
        return self._saved >= cost

    def spend(self, cost: float = 1.0) -> bool:
        """Spend ``cost`` extra calls; return False where the budget has less."""
        with self._lock:
            if self._saved < cost:
                return False
            self._saved -= cost
            return True


class UnpaidTokens:
    """Tokens of one model that a provider has billed for attempts whose requests had ended.

    A call that requests share goes on when one of them ends early: by its timeout, because its
    client has left, or because another call was faster. The provider bills the whole call, and what
    that attempt cost is known only then: the next request of its key for the model pays for it.

    The lock guards ``_of_key``; it may be taken under the lock of a job.
    """

    def __init__(self) -> None:
        self._of_key: dict[str, dict[Source, int]] = {}
        self._lock = uncontended_lock()

    def add(self, key: str, source: Source, tokens: int) -> None:
        """Record tokens that the next request of a key pays for.

        Of more than `MAX_KEYS_REMEMBERED` keys, the oldest is forgotten.
        """
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
