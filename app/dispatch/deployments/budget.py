"""The retry budget: bounds the calls that the proxy adds by itself. No I/O."""

from __future__ import annotations

from app.concurrency.locks import uncontended_lock


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
