"""Whether a server that answers may do without is asked at all."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.concurrency.locks import uncontended_lock

#: Calls in a row that have to fail: one may be bad luck.
FAILURES = 3
#: Seconds from one probe to the next while open …
PAUSE = 0.25
#: … which double, up to this, each time a server fails again right after it has passed a probe.
MAX_PAUSE = 2.0
#: Seconds of good work that make up for that.
PROVEN = 5.0


class Breaker:
    """Opens after failures in a row, closes after a good probe. No caller is ever the probe.

    The lock guards all fields; nothing waits under it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = uncontended_lock()
        self._failures = 0
        self._closed_at = 0.0
        self.pause = PAUSE
        self.open = False

    def failed(self, at_once: bool = False) -> bool:
        """A call failed, ``at_once``: beyond doubt. True: this opened it."""
        with self._lock:
            self._failures += 1
            if self.open or (self._failures < FAILURES and not at_once):
                return False
            relapse = self._closed_at and self._clock() - self._closed_at < PROVEN
            self.pause = min(self.pause * 2, MAX_PAUSE) if relapse else PAUSE
            self.open = True
            return True

    def worked(self) -> None:
        """A call was answered in time."""
        if self._failures and not self.open:
            with self._lock:
                self._failures = 0

    def proved(self) -> bool:
        """A probe was answered in time. True: this closed it."""
        with self._lock:
            was_open, self.open, self._failures = self.open, False, 0
            if was_open:
                self._closed_at = self._clock()
            return was_open
