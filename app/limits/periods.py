"""The periods of limits: sliding minutes, and days and months of the calendar.

A rate, which is the limit of a minute, protects a service, so its minute slides and never resets at
once. A quota or a budget follows the calendar as invoices do, so days and months begin at midnight
in the time zone ``LIMITS["timezone"]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

_DAY_S = 86_400


class Span(NamedTuple):
    """One period: its consecutive number, its start and its end in seconds since 1970."""

    number: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sliding:
    """A window of the last ``seconds`` seconds.

    Usage is counted in periods of the same length: see `app.limits.memory`.
    """

    seconds: int
    name: str = "minute"
    slides = True

    def span(self, now: float) -> Span:
        number = int(now // self.seconds)
        return Span(number, number * self.seconds, (number + 1) * self.seconds)

    @property
    def keep_s(self) -> int:
        """Seconds after the end of a period for which its count is still needed."""
        return self.seconds


class Calendar:
    """The days or the months of the calendar in a time zone."""

    slides = False
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


Period = Sliding | Calendar
MINUTE = Sliding(60)


def zone_of(name: str) -> tzinfo:
    """Return the time zone with a name such as Europe/Berlin. Raises ValueError or KeyError."""
    return UTC if name == "UTC" else ZoneInfo(name)
