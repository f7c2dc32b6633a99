"""What the recent calls of a deployment show: how long they take, and which share of them failed.

No I/O, no lock.
"""

from __future__ import annotations

from collections import deque

from app.config.sections.dispatch import DispatchSettings

_NEWEST_WEIGHT = 0.2  # of the newest answer in the moving average
_MAX_ANSWERS = 100  # remembered for each size class
_PERCENTILE = 0.95  # of `Latency.p95_s`
_MIN_ANSWERS = 10  # of a size class, before `p95_s` returns a value
_TTL_S = 10.0  # after the last answer, when the average counts as unknown
_LONG_AGO = float("-inf")


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

    def recent_average_s(self, now: float) -> float | None:
        """Return the average in seconds; None without an answer in the last 10 s.

        It expires because a deployment that was slow once would otherwise never be chosen again.
        """
        return self.average if now - self.answered_at < _TTL_S else None

    def p95_s(self, items: int) -> float | None:
        """Return the 95th percentile for calls of about that size; None while unknown."""
        answers = self._answers.get(_size_class(items))
        if answers is None or len(answers) < _MIN_ANSWERS:
            return None
        return sorted(answers)[int(_PERCENTILE * len(answers))]

    def p95_or_average_s(self, items: int) -> float | None:
        """Return the p95 for calls of about that size, else the average of all; or None."""
        p95_s = self.p95_s(items)
        return self.average if p95_s is None else p95_s


def _size_class(items: int) -> int:
    return (items - 1).bit_length() // 3


class FailureRate:
    """Counts calls and failures in the current window and in the one before it."""

    def __init__(self, settings: DispatchSettings) -> None:
        self._length = settings.rate_window
        self._min_calls = settings.min_calls
        self.reset(_LONG_AGO)

    def reset(self, now: float) -> None:
        """Forget all calls."""
        self._window = (now, 0, 0)  # start, calls, failures
        self._window_before = (0, 0)  # calls, failures

    def count(self, now: float, failed: bool) -> None:
        """Count a call that has ended."""
        start, calls, failures = self._window
        length = self._length
        if now - start >= length:
            self._window_before = (calls, failures) if now - start < 2 * length else (0, 0)
            start, calls, failures = now, 0, 0
        self._window = (start, calls + 1, failures + 1 if failed else failures)

    def value(self, now: float) -> float:
        """Return the share of recent calls that failed; 0 while they are too few or too old."""
        if now - self._window[0] >= 2 * self._length:
            return 0.0
        calls = self._window[1] + self._window_before[0]
        failures = self._window[2] + self._window_before[1]
        return failures / calls if calls >= self._min_calls else 0.0
