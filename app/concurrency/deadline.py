"""A point in time that a wait must not pass, shared by all steps of the work that ends by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar


class Deadline:
    """Seconds of the monotonic clock, which can be extended while work is under way, or cancelled.

    A call that several callers wait for may last until the latest of their deadlines: a caller that
    joins late extends this one. Cancelling it interrupts the wait on a socket that is registered.
    """

    __slots__ = ("_interrupt", "at", "cancelled")

    def __init__(self, at: float) -> None:
        self.at = at
        self.cancelled = False
        self._interrupt: Callable[[], None] | None = None

    def remaining(self) -> float:
        """Seconds left; 0 or less when it has passed."""
        return self.at - time.monotonic()

    def soonest(self, now: float, start: int, stop: int) -> float:
        """Return when the first caller leaves that waits for some items; this one has one caller.

        The items are those from position ``start`` to ``stop`` of its work.
        """
        return self.at

    def for_step(self, share: float, longest_s: float) -> Deadline:
        """Return the deadline of a step: a share of the time left, but at most so many seconds."""
        return Deadline(time.monotonic() + min(share * self.remaining(), longest_s))

    def extend(self, at: float) -> None:
        """Move the deadline to ``at`` if that is later; not once it was cancelled."""
        if at > self.at and not self.cancelled:
            self.at = at

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Register what a cancellation calls; call it at once where there was one already."""
        self._interrupt = interrupt
        if self.cancelled:
            interrupt()

    def cancel(self) -> None:
        """End the time that is left, for good, and call what is registered."""
        self.cancelled = True
        self.at = float("-inf")
        interrupt = self._interrupt  # once: another thread may `close` meanwhile
        if interrupt is not None:
            interrupt()

    def close(self) -> None:
        """Forget what a cancellation calls: the work has ended.

        That refers to this deadline in turn, so only the garbage collector could free the two, and
        with them whatever they refer to.
        """
        self._interrupt = None


#: The deadline of the call that this thread makes, for credentials that are fetched meanwhile.
CALL_DEADLINE: ContextVar[Deadline | None] = ContextVar("CALL_DEADLINE", default=None)
