"""The share of a deployment's recent calls that failed."""

from __future__ import annotations

from app.config.dispatch import DispatchSettings

_NEVER = float("-inf")


class FailureRate:
    """Counts calls and failures in the current window and in the one before it."""

    def __init__(self, settings: DispatchSettings) -> None:
        self._length = settings.rate_window
        self._min_calls = settings.min_calls
        self.reset(_NEVER)

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
        self._window = (start, calls + 1, failures + failed)

    def value(self, now: float) -> float:
        """Return the share of recent calls that failed; 0 while they are too few or too old."""
        if now - self._window[0] >= 2 * self._length:
            return 0.0
        calls = self._window[1] + self._window_before[0]
        failures = self._window[2] + self._window_before[1]
        return failures / calls if calls >= self._min_calls else 0.0
