"""How fast attempts leave a queue. No I/O, no lock."""

from __future__ import annotations

from collections import deque

_MAX_CALLS_REMEMBERED = 32


class DrainRate:
    """Learns from the recent calls how many attempts leave a queue in a second."""

    def __init__(self) -> None:
        #: Time and attempts of each.
        self._calls: deque[tuple[float, int]] = deque(maxlen=_MAX_CALLS_REMEMBERED)

    def record_call(self, attempts: int, waiting: int, now: float) -> None:
        """Record a call with so many attempts of the queue; ``waiting``: of all before the call."""
        if waiting <= attempts:  # the queue is empty for a time that is not known
            self._calls.clear()
        else:
            self._calls.append((now, attempts))

    def seconds_for(self, attempts: int, now: float) -> float | None:
        """Return the seconds until so many attempts have left; None while that is not known."""
        if not self._calls:
            return None
        seconds = now - self._calls[0][0]
        return attempts * seconds / sum(number for _, number in self._calls) if seconds else None
