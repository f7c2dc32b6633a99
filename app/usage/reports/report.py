"""Parses the parameters of a report, and formats its rows for reading or as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from app.limits.periods import zone_of

#: Dimensions that a report can be grouped by.
DIMENSIONS = (
    *("key", "user", "model", "provider", "deployment", "service_tier", "status", "error_code"),
    "day",
    "hour",
)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Spreadsheets run a cell that begins with one of these as a formula, the last four (fullwidth
#: forms of the first) where Japanese is set; clients choose user names.
_FORMULA_STARTS = (*"=+-@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def moment(text: str, now: datetime) -> datetime:
    """Parse ``7d`` or ``12h`` (before now), or a date or time like ``2026-01-31``.

    Dates are in the time zone of ``now``. Days and weeks keep the time of day; hours and minutes
    are as long as any others where the zone's offset changes. Raises ValueError.
    """
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        age = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if found[2] in "dw":
            return now - age
        return (now.astimezone(UTC) - age).astimezone(now.tzinfo)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: 7d, 12h, 30m, 2w or 2026-01-31") from None
    return given if given.tzinfo else given.replace(tzinfo=now.tzinfo)


def time_zone(name: str) -> tzinfo:
    """Return the time zone of a name like ``Europe/Berlin``. Raises ValueError."""
    try:
        return zone_of(name)
    except (ValueError, LookupError, OSError):  # a path outside, no such name, a directory
        raise ValueError(f"{name[:64]!r} is no time zone: UTC, Europe/Berlin") from None


def dimensions(text: str) -> list[str]:
    """Parse names of dimensions like ``key,user``. Raises ValueError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in DIMENSIONS:
            raise ValueError(f"{name!r} is nothing to group by: {', '.join(DIMENSIONS)}")
    return list(dict.fromkeys(names))


def milliseconds(when: datetime) -> int:
    """Return a time in milliseconds since 1970."""
    return int(when.timestamp() * 1000)


def readable(row: dict[str, Any], zone: tzinfo = UTC) -> dict[str, Any]:
    """Format a row of `Store.report`: times, dollars, the mean time and the error rate."""
    shown = dict(row)
    if "day" in shown:
        shown["day"] = datetime.fromtimestamp(shown["day"] / 1000, UTC).date().isoformat()
    if "hour" in shown:
        hour = datetime.fromtimestamp(shown["hour"] / 1000, zone)
        shown["hour"] = hour.isoformat(timespec="minutes")
    shown["cost"] = shown["cost"] / 1e9
    shown["mean_ms"] = round(shown.pop("ms") / shown["requests"], 1)
    shown["error_rate"] = round(shown["failed"] / shown["requests"], 4)
    return shown


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV with a header, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            "'" + v if isinstance(v, str) and v.startswith(_FORMULA_STARTS) else v
            for v in row.values()
        )
    return out.getvalue()
