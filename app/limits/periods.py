"""The periods that limits are counted in: minutes that slide, and the calendar's days and months.

A rate protects a service, so its minute slides: it never starts anew. A quota or a budget is agreed
on by the calendar, as invoices are, so its days and months begin at midnight in the time zone of
``LIMITS["timezone"]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

_DAY_S = 86_400


class Span(NamedTuple):
    """One period: its number among those of its kind, and where it begins and ends (since 1970)."""

    number: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sliding:
    """A window of so many seconds that ends now, whenever now is.

    It is counted in periods as long as the window: see `app.limits.memory`.
    """

    seconds: int
    name: str = "minute"
    slides = True

    def span(self, now: float) -> Span:
        number = int(now // self.seconds)
        return Span(number, number * self.seconds, (number + 1) * self.seconds)

    @property
    def keep_s(self) -> int:
        """Seconds after its end for which a period's count is still wanted."""
        return self.seconds


class Calendar:
    """The days or the months of a time zone."""

    slides = False
    seconds = 0

    def __init__(self, name: Literal["day", "month"], zone: tzinfo = UTC) -> None:
        self.name = name
        self.zone = zone
        #: Also to count what arrives late by another host's clock: longer than the next period.
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
        """Midnight of the time zone. Where clocks are put forward over it, what comes then."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


Period = Sliding | Calendar
MINUTE = Sliding(60)


def zone_of(name: str) -> tzinfo:
    """The time zone of a name such as Europe/Berlin. Raises ValueError or KeyError."""
    return UTC if name == "UTC" else ZoneInfo(name)
