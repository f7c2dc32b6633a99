"""The calls of a deployment in a row that ended without an answer. No I/O, no lock."""

from __future__ import annotations

_MIN_CALLS = 3  # that prove a silence: one or two may be slow by chance


class UnansweredCalls:
    """Counts the calls since the last answer that took longer than usual and were then cut.

    Such a call alone proves no fault: its hedge has won, or its caller's timeout was short. But
    several in a row, without an answer to any other call meanwhile, prove as much as one that
    lasted from the start of the first until the end of the last.
    """

    def __init__(self) -> None:
        self._number = 0
        self._first_started_at = 0.0

    def reset(self) -> None:
        """Record an answer."""
        self._number = 0

    def add(self, call_started_at: float, now: float) -> float:
        """Record a call without an answer; return the seconds of silence that are proven."""
        if not self._number:
            self._first_started_at = call_started_at
        self._number += 1
        return now - self._first_started_at if self._number >= _MIN_CALLS else 0.0
