"""Windows over which limits count, what is taken from them, and the protocol of their counters.

`app.limits.counters.memory` and `app.limits.counters.redis` implement the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.limits.periods import Period

#: Seconds added to a wait, so that a count has fallen below a number and is not equal to it.
MARGIN_S = 0.001


class Take(NamedTuple):
    """A request to add ``cost`` to a counter if no more than ``limit`` is used then."""

    name: str
    limit: int
    period: Period
    cost: int


class UsageReservation(NamedTuple):
    """The id of the usage that a request has reserved, and the seconds after which it expires.

    It ends when the request is settled. It expires if the worker is killed before that; without
    expiry the usage would be counted for the rest of a month.
    """

    id: str
    seconds: float


class Change(NamedTuple):
    """The usage that replaces what was taken in one period."""

    name: str
    period: Period
    period_number: int  # as in `app.limits.periods.Span`
    taken: int
    used: int


@dataclass(slots=True)
class Window:
    """A window at the time ``now``: the counts of the current period and of the one before.

    There are three cases: (1) a sliding window is as long as a period, and periods are counted from
    1970; of the period before it counts the share that the window still covers, as if the usage
    were spread evenly. (2) A window of the calendar is the current period; ``before`` is 0.
    (3) That of concurrent requests is no period; ``before`` is 0.
    """

    limit: int
    period_number: int
    start: float
    end: float
    current: int
    before: int
    now: float
    is_calendar: bool

    @property
    def used(self) -> float:
        if not self.before:
            return self.current
        return self.before * (self.end - self.now) / (self.end - self.start) + self.current

    @property
    def remaining(self) -> int:
        remaining = self.limit - math.floor(self.used)
        return remaining if remaining > 0 else 0

    def time_to_fit(self, room: int) -> float:
        """Return the seconds until no more than ``room`` is used, if nothing is added.

        There are four cases: (1) that is so now; (2) a window of the calendar: when it ends; (3) a
        sliding window whose current count fits: within this period, as the count of the one before
        decreases; (4) else in the next period, as the current count decreases.
        """
        bound = room + 1  # `used` is rounded down, so it has to fall below this
        if self.used < bound:
            return 0.0
        to_end_s, period_s = self.end - self.now, self.end - self.start
        if self.is_calendar:
            wait_s = to_end_s
        elif self.current < bound:
            wait_s = to_end_s - (bound - self.current) * period_s / self.before
        else:
            wait_s = to_end_s + (1 - bound / self.current) * period_s
        return wait_s + MARGIN_S


class Taken(NamedTuple):
    """The windows after a take; ``refused`` is the place of the first that was too full, or -1."""

    refused: int
    windows: list[Window]


class WindowsState(NamedTuple):
    """Failures of the server that counts, since the start of this process."""

    unchecked: int  # takes without a reply
    dropped: int  # corrections that were lost
    away: bool  # the server does not answer now


class Windows(Protocol):
    """Counters of windows. A take from several is atomic over threads and processes."""

    def take(
        self, takes: Sequence[Take], reservation: UsageReservation | None = None
    ) -> Taken | None:
        """Take from all windows, or from none if one is too full; None: no reply came."""

    def change(
        self, changes: Sequence[Change], reservation: UsageReservation | None = None
    ) -> None:
        """Correct what was taken, regardless of limits, and end the reservation.

        It waits for a server only to end a concurrent request.
        """

    def claim(self, name: str, period: Period, period_number: int) -> bool:
        """Return whether this process is the first to claim a period of a window.

        It may wait for a server; without a reply it returns True, as two warnings of one soft limit
        are better than none.
        """

    def state(self) -> WindowsState | None:
        """Return the failures, for metrics; None where no server counts."""

    def close(self) -> None:
        """Close connections."""
