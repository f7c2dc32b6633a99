"""Periods of limits: days and months of the calendar are contiguous."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.periods import MINUTE, Calendar, zone_of

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo"]


@given(
    name=st.sampled_from(["day", "month"]),
    zone=st.sampled_from(ZONES),
    now=st.floats(10**9, 3 * 10**9),
)
def test_periods_contain_their_time_and_are_contiguous(name, zone, now):
    calendar = Calendar(name, zone_of(zone))
    span = calendar.span(now)
    assert span.start <= now < span.end
    after = Calendar(name, zone_of(zone)).span(span.end)
    assert after.start == span.end
    assert after.number - span.number in (1, 2)  # Apia had no 30 December 2011
    assert calendar.keep_s > after.end - after.start
    assert calendar.span(span.start) == span


@pytest.mark.parametrize(
    ("name", "zone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-02-28T23:59:59+00:00", "2026-02-28+00:00", "2026-03-01+00:00"),
        ("month", "UTC", "2028-02-29T12:00:00+00:00", "2028-02-01+00:00", "2028-03-01+00:00"),
        ("month", "UTC", "2026-12-31T23:59:59+00:00", "2026-12-01+00:00", "2027-01-01+00:00"),
        # 23 hours, then 25.
        (
            "day",
            "Europe/Berlin",
            "2026-03-29T12:00:00+02:00",
            "2026-03-29+01:00",
            "2026-03-30+02:00",
        ),
        (
            "day",
            "Europe/Berlin",
            "2026-10-25T12:00:00+01:00",
            "2026-10-25+02:00",
            "2026-10-26+01:00",
        ),
        (
            "month",
            "America/New_York",
            "2026-03-31T23:30:00-04:00",
            "2026-03-01-05:00",
            "2026-04-01-04:00",
        ),
    ],
)
def test_days_and_months_begin_at_midnight_of_the_zone(name, zone, now, start, end):
    span = Calendar(name, ZoneInfo(zone)).span(datetime.fromisoformat(now).timestamp())
    assert datetime.fromtimestamp(span.start, UTC) == midnight(start)
    assert datetime.fromtimestamp(span.end, UTC) == midnight(end)


def midnight(text):
    """Return the beginning of a day, such as ``2026-03-01+02:00``, as a timestamp."""
    return datetime.fromisoformat(f"{text[:10]}T00:00{text[10:]}")


def test_a_minute_slides_in_periods_as_long_as_itself():
    assert MINUTE.span(125.5) == (2, 120, 180)
    assert not MINUTE.is_calendar
