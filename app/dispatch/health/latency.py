"""How long a deployment's calls take, learned from its answers. No I/O, no lock."""

from __future__ import annotations

from collections import deque

_NEWEST_WEIGHT = 0.2  # of the newest answer in the moving average
_MAX_ANSWERS = 100  # remembered for each size class
_PERCENTILE = 0.95  # of `Latency.p95_s`
_MIN_ANSWERS = 10  # of a size class, before `p95_s` returns a value
_TTL_S = 10.0  # after the last answer, when the average counts as unknown


class Latency:
    """Seconds a call: a moving average, and the p95 by size class.

    A size class holds calls of up to 8 times as many items as the one before.
    """

    def __init__(self) -> None:
        self.average: float | None = None  # seconds
        self.answered_at = float("-inf")  # when the last call was answered
        self._answers: dict[int, deque[float]] = {}

    def add(self, items: int, seconds: float, now: float) -> None:
        """Learn from an answer."""
        self.answered_at = now
        if self.average is None:
            self.average = seconds
        else:
            self.average += _NEWEST_WEIGHT * (seconds - self.average)
        size = _size_class(items)
        if size not in self._answers:
            self._answers[size] = deque(maxlen=_MAX_ANSWERS)
        self._answers[size].append(seconds)

    def known(self, now: float) -> float | None:
        """Return the average; None without an answer in the last 10 s.

        It expires because a deployment that was slow once would otherwise never be chosen again.
        """
        return self.average if now - self.answered_at < _TTL_S else None

    def p95_s(self, items: int) -> float | None:
        """The 95th percentile for calls of about that size, in seconds; None while unknown."""
        known = self._answers.get(_size_class(items))
        if known is None or len(known) < _MIN_ANSWERS:
            return None
        return sorted(known)[int(_PERCENTILE * len(known))]

    def p95_or_average_s(self, items: int) -> float | None:
        """The p95 for calls of about that size, else the average of all; None while unknown."""
        p95_s = self.p95_s(items)
        return self.average if p95_s is None else p95_s


def _size_class(items: int) -> int:
    return (items - 1).bit_length() // 3
