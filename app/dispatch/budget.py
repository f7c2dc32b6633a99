"""A bound on the calls that the proxy adds by itself. No I/O."""

from __future__ import annotations

from app.concurrency.locks import uncontended_lock


class Budget:
    """Extra calls as a share of the others, so that a sick provider is not stampeded.

    The first call of each part of a request earns ``ratio`` of an extra call; ``start`` are there
    at the beginning and at most ``most`` can be saved up. The lock guards ``_saved``.

    Source: the retry budget of Finagle (twitter.github.io/finagle/guide/Clients.html).
    """

    def __init__(self, ratio: float, start: float, most: float) -> None:
        self._ratio = ratio
        self._most = most
        self._saved = start
        self._lock = uncontended_lock()

    def earn(self) -> None:
        """Count the first call of a part."""
        with self._lock:
            self._saved = min(self._saved + self._ratio, self._most)

    def can_spend(self, cost: float = 1.0) -> bool:
        """Whether `spend` would succeed now."""
        return self._saved >= cost

    def spend(self, cost: float = 1.0) -> bool:
        """Take one extra call, or a share of one; False where the budget is used up."""
        with self._lock:
            if self._saved < cost:
                return False
            self._saved -= cost
            return True
