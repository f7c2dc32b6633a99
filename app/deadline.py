"""A point in time that a wait must not pass, shared by all who work towards it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """Seconds of the monotonic clock. It may be moved back while work is under way, or cancelled.

    A call that several callers wait for lives as long as the most patient of them: who joins late
    extends it. Cancelling wakes the one who blocks on a socket.
    """

    __slots__ = ("_interrupt", "at", "cancelled")

    def __init__(self, at: float) -> None:
        self.at = at
        self.cancelled = False
        self._interrupt: Callable[[], None] | None = None

    def remaining(self) -> float:
        """Seconds left; 0 or less when it has passed."""
        return self.at - time.monotonic()

    def extend(self, at: float) -> None:
        if at > self.at and not self.cancelled:
            self.at = at

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Have ``interrupt`` called at a cancellation; at once where there was one."""
        self._interrupt = interrupt
        if self.cancelled:
            interrupt()

    def cancel(self) -> None:
        self.cancelled = True
        self.at = float("-inf")
        if self._interrupt is not None:
            self._interrupt()
