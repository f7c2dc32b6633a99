"""A report's question and its answer in words, commas or JSON. Pure functions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from app.limits.periods import zone_of

#: What a report can be grouped by.
DIMENSIONS = ("key", "user", "model", "provider", "deployment", "status", "error_code", "day")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: A spreadsheet takes a cell that begins so for a formula, and an end user may be called anything.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def moment(text: str, now: datetime) -> datetime:
    """``7d``, ``12h`` before now, or a date or time: ``2026-01-31``. Raises ValueError.

    Dates are those of now's time zone.
    """
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: 7d, 12h, 30m, 2w or 2026-01-31") from None
    return given if given.tzinfo else given.replace(tzinfo=now.tzinfo)


def time_zone(name: str) -> tzinfo:
    """``Europe/Berlin``, ``UTC``. Raises ValueError."""
    try:
        return zone_of(name)
    except (ValueError, LookupError, OSError):  # a path outside, no such name, a directory
        raise ValueError(f"{name[:64]!r} is no time zone: UTC, Europe/Berlin") from None


def dimensions(text: str) -> list[str]:
    """``key,user`` → the names. Raises ValueError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in DIMENSIONS:
            raise ValueError(f"{name!r} is nothing to group by: {', '.join(DIMENSIONS)}")
    return list(dict.fromkeys(names))


def milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `Store.report` for people: dates, money, the mean time and the rate of errors."""
    shown = dict(row)
    if "day" in shown:
        shown["day"] = datetime.fromtimestamp(shown["day"] / 1000, UTC).date().isoformat()
    shown["cost"] = shown["cost"] / 1e9
    shown["mean_ms"] = round(shown.pop("ms") / shown["requests"], 1)
    shown["error_rate"] = round(shown["failed"] / shown["requests"], 4)
    return shown


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            "'" + v if isinstance(v, str) and v.startswith(_FORMULA) else v for v in row.values()
        )
    return out.getvalue()
