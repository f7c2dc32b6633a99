"""Circuit breaker: decides whether a server is asked at all."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.concurrency.locks import uncontended_lock

#: Failures in a row that open it: a single one may be chance.
FAILURES_TO_OPEN = 3
#: Seconds between two probes while it is open.
PROBE_INTERVAL_S = 0.25
#: The longest interval: it is doubled each time the server fails soon after it has passed a probe.
MAX_PROBE_INTERVAL_S = 2.0
#: "Soon" is within so many seconds after the probe.
RELAPSE_WITHIN_S = 5.0


class CircuitBreaker:
    """Opens after failures in a row, closes after a good probe.

    Probes are made in the background: no request is one. The lock guards all fields; nothing waits
    under it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = uncontended_lock()
        self._failures = 0  # in a row
        self._closed_at: float | None = None
        self._probe_at = 0.0
        self.probe_interval_s = PROBE_INTERVAL_S
        self.is_open = False

    def record_failure(self, is_certain: bool = False) -> bool:
        """Count a failed call; return whether it has opened the breaker.

        ``is_certain``: the failure leaves no doubt (a refused connection), so one opens it.
        """
        with self._lock:
            self._failures += 1
            if self.is_open or (self._failures < FAILURES_TO_OPEN and not is_certain):
                return False
            self._open()
            return True

    def record_success(self) -> None:
        """Count a call that was answered in time."""
        if self._failures and not self.is_open:
            with self._lock:
                self._failures = 0

    def record_probe(self, is_good: bool) -> bool:
        """Close the breaker after a good probe, open it after another; whether that changed it."""
        with self._lock:
            was_open = self.is_open
            if is_good:
                self.is_open, self._failures = False, 0
                if was_open:
                    self._closed_at = self._clock()
            elif was_open:
                self._probe_at = self._clock() + self.probe_interval_s
            else:
                self._open()
            return was_open == is_good

    def seconds_to_probe(self) -> float:
        """Return the seconds until the next probe is due: 0 or less when it is."""
        return self._probe_at - self._clock()

    def _open(self) -> None:
        now, closed_at = self._clock(), self._closed_at
        relapsed = closed_at is not None and now - closed_at < RELAPSE_WITHIN_S
        doubled_s = min(self.probe_interval_s * 2, MAX_PROBE_INTERVAL_S)
        self.probe_interval_s = doubled_s if relapsed else PROBE_INTERVAL_S
        self._probe_at = now + self.probe_interval_s
        self.is_open = True
