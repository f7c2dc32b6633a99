"""How long a deployment takes, learned from its answers. No I/O, no lock."""

from __future__ import annotations

from collections import deque

#: Weight of the newest answer in the moving average.
_NEWEST = 0.2
#: Answers kept per size class, for the 95th percentile.
_KEPT = 100
#: Answers of a size class before anything is said about it.
_ENOUGH = 10


class Latency:
    """Seconds a call, over all calls and by size class (a class holds 8 times the one before)."""

    def __init__(self) -> None:
        self.average: float | None = None
        self._classes: dict[int, deque[float]] = {}

    def add(self, items: int, seconds: float) -> None:
        if self.average is None:
            self.average = seconds
        else:
            self.average += _NEWEST * (seconds - self.average)
        size = _size_class(items)
        if size not in self._classes:
            self._classes[size] = deque(maxlen=_KEPT)
        self._classes[size].append(seconds)

    def p95(self, items: int) -> float | None:
        """The 95th percentile for calls of about that size; None while too few are known."""
        known = self._classes.get(_size_class(items))
        if known is None or len(known) < _ENOUGH:
            return None
        return sorted(known)[int(0.95 * len(known))]


def _size_class(items: int) -> int:
    return (items - 1).bit_length() // 3
