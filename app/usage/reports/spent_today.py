"""What all keys have spent today, as the ledger has it, for the console."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.errors import ClientError
from app.limits.periods import Calendar
from app.limits.pricing import NANODOLLARS
from app.usage.reports.reporter import Reporter
from app.usage.store.queries import ReportQuery

#: Seconds for which a sum is good: each open page asks every two seconds.
GOOD_FOR_S = 30.0
#: Whose the report is in `Reporter`, which counts them by key.
_ASKED_BY = "console:now"


class SpentToday:
    """The dollars spent since midnight, by a report at most twice a minute.

    ``day`` is that of the budgets; ``clock`` gives seconds since 1970.
    """

    def __init__(
        self, reporter: Reporter, day: Calendar, clock: Callable[[], float] = time.time
    ) -> None:
        self._reporter = reporter
        self._day = day
        self._clock = clock
        self._known: tuple[int, float | None, float] = (-1, None, 0.0)  # day, sum, good until

    def __call__(self) -> float | None:
        """Return the sum; None if the database gives none, or has given none for today."""
        now = self._clock()
        day = self._day.span(now)
        number, dollars, good_until = self._known
        if number != day.number:
            dollars = None
        elif now < good_until:
            return dollars
        # Replaced first, so that requests that arrive meanwhile do not ask, too.
        self._known = (day.number, dollars, now + GOOD_FOR_S)
        query = ReportQuery(
            ("model",), int(day.start * 1000), int(day.end * 1000), zone=self._day.zone
        )
        try:
            rows = self._reporter.report(_ASKED_BY, query)
        except ClientError:  # the database is away, or other reports are running
            return dollars
        dollars = float(sum(row["cost"] for row in rows)) / NANODOLLARS
        self._known = (day.number, dollars, now + GOOD_FOR_S)
        return dollars
