"""Reports as tables, CSV and JSON: times, names, and no control characters."""

import csv
import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.tables import as_table
from app.usage.reports.report import as_csv, dimensions, milliseconds, moment, readable, time_zone

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("12h", NOW - timedelta(hours=12)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T10:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00+02:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_time_is_an_age_or_a_date(text, expected):
    assert moment(text, NOW) == expected


BERLIN = ZoneInfo("Europe/Berlin")
CLOCKS_CHANGE = [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)]


@given(
    change=st.sampled_from(CLOCKS_CHANGE),
    minutes_after=st.integers(-300, 300),
    age=st.sampled_from([("30m", 30), ("1h", 60), ("3h", 180), ("24h", 1440)]),
)
def test_hours_and_minutes_are_as_long_where_the_clock_changes(change, minutes_after, age):
    text, minutes = age
    now = change + timedelta(minutes=minutes_after)
    found = moment(text, now.astimezone(BERLIN))
    assert now - found == timedelta(minutes=minutes)
    assert found.tzinfo is BERLIN


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7y", "yesterday", "2026-13-01", "9999999d"])
def test_invalid_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time"):
        moment(text, NOW)


def test_dimensions_are_parsed():
    assert dimensions("key, user,key") == ["key", "user"]
    assert dimensions("") == []
    with pytest.raises(ValueError, match="'secret' is nothing to group by: key, user, model"):
        dimensions("key,secret")


def test_milliseconds():
    assert milliseconds(NOW) == NOW.timestamp() * 1000


ROW = {"user": "u", "requests": 4, "failed": 1, "ms": 10, "cost": 1_500_000_000, "items": 9}


def test_readable_rows_have_dates_dollars_means_and_rates():
    shown = readable({"day": milliseconds(NOW), **ROW})
    assert shown == {
        "day": "2026-03-10",
        "user": "u",
        "requests": 4,
        "failed": 1,
        "cost": 1.5,
        "items": 9,
        "mean_ms": 2.5,
        "error_rate": 0.25,
    }
    assert "day" not in readable(ROW)
    hour = readable({"hour": milliseconds(NOW), **ROW}, time_zone("Asia/Kolkata"))["hour"]
    assert hour == "2026-03-10T17:30+05:30"


def test_table_is_aligned_and_has_no_control_characters():
    rows = [
        {"user": "a\x1b[2Jb\r", "requests": 5, "cost": 0.000002},
        {"user": "", "requests": 12345, "cost": 0.0},
    ]
    lines = as_table(rows, "").splitlines()
    assert lines == [
        "user     requests      cost",
        "a\ufffd[2Jb\ufffd         5  0.000002",
        "-           12345         0",
    ]
    assert as_table([], "No requests in that time.") == "No requests in that time."


@pytest.mark.parametrize(
    "user", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff201"]
)
def test_csv_cells_are_never_formulas(user):
    lines = list(csv.reader(io.StringIO(as_csv([{"user": user, "cost": -1.0}]), newline="")))
    assert lines == [["user", "cost"], ["'" + user, "-1.0"]]


def test_csv_cells_are_quoted():
    text = as_csv([{"user": 'a,"b"\nc', "requests": 1}])
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [
        {"user": 'a,"b"\nc', "requests": "1"}
    ]
    assert as_csv([]) == ""
