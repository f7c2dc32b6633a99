"""The periods of limits: sliding minutes, days and months of the calendar, and none.

A rate, which is the limit of a minute, protects a service, so its minute slides and never resets at
once. A quota or a budget follows the calendar as invoices do, so days and months begin at midnight
in the time zone ``LIMITS["timezone"]``. A limit of concurrent requests counts those that have begun
and not ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

_HOUR_S, _DAY_S = 3_600, 86_400


class Span(NamedTuple):
    """One period: its consecutive number, its start and its end in seconds since 1970."""

    number: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sliding:
    """A window of the last ``seconds`` seconds.

    Usage is counted in periods of the same length: see `app.limits.counters.memory`.
    """

    seconds: int
    name: str = "minute"
    is_calendar = False

    def span(self, now: float) -> Span:
        number = int(now // self.seconds)
        return Span(number, number * self.seconds, (number + 1) * self.seconds)

    @property
    def keep_s(self) -> int:
        """Seconds after the end of a period for which its count is still needed."""
        return self.seconds


class Calendar:
    """The days or the months of the calendar in a time zone."""

    is_calendar = True
    seconds = 0

    def __init__(self, name: Literal["day", "month"], zone: tzinfo = UTC) -> None:
        self.name = name
        self.zone = zone
        #: Seconds for which a count is kept after its period. Longer than the next period, as usage
        #: may arrive late, or by another host's clock.
        self.keep_s = 2 * _DAY_S if name == "day" else 33 * _DAY_S
        self._last = Span(0, 0.0, 0.0)  # replaced as a whole, so it needs no lock

    def span(self, now: float) -> Span:
        span = self._last
        if not span.start <= now < span.end:
            span = self._last = self._find(now)
        return span

    def _find(self, now: float) -> Span:
        today = datetime.fromtimestamp(now, self.zone).date()
        if self.name == "day":
            return Span(today.toordinal(), self._begin(today), self._begin(today + timedelta(1)))
        first = today.replace(day=1)
        after = (first + timedelta(31)).replace(day=1)
        return Span(first.year * 12 + first.month - 1, self._begin(first), self._begin(after))

    def _begin(self, day: date) -> float:
        """Return midnight in the time zone; where clocks skip it, the first moment of the day."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


class Concurrent:
    """No period: what a request takes is given back when it ends."""

    name = "concurrent"
    is_calendar = False
    seconds = -1  # how scripts tell it from other periods
    keep_s = 0

    def span(self, now: float) -> Span:
        """Return a span with a constant number; it ends later than any request in progress."""
        return Span(0, 0.0, now + 2 * _HOUR_S)


Period = Sliding | Calendar | Concurrent
MINUTE = Sliding(60)
CONCURRENT = Concurrent()


def zone_of(name: str) -> tzinfo:
    """Return the time zone with a name such as Europe/Berlin. Raises ValueError or KeyError."""
    return UTC if name == "UTC" else ZoneInfo(name)
