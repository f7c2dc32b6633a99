"""What the page Use is asked to show, read from the query string, and links that change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from app.console.use.columns import COLUMNS, MEASURES, TIMES, TITLES
from app.domain import Caller
from app.errors import BadRequest, shown
from app.usage.reports.report import DIMENSIONS, milliseconds, moment, time_zone
from app.usage.store.queries import ReportQuery, VolumeLimits

#: Times that the form offers.
RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days", "400d": "400 days"}
DEFAULT_RANGE = "7d"
#: The longest time whose bars are hours and not days.
MAX_HOURS_SHOWN = timedelta(days=3)
#: Given as a value to filter by: requests that have none.
NONE = "(none)"
_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to show. ``only`` has the values of dimensions to include, by dimension."""

    since: datetime
    until: datetime
    by: tuple[str, ...]  # one or two dimensions
    measure: str  # of the bars
    order: str
    is_ascending: bool
    zone: tzinfo
    only: Mapping[str, str]
    key: str | None  # the only key that the session may see; None: all
    given: Mapping[str, str]  # the parameters as they were given

    @property
    def grain(self) -> str:
        """What a bar is: an "hour" or a "day"."""
        return "hour" if self.until - self.since <= MAX_HOURS_SHOWN else "day"

    def link(self, **changes: str) -> str:
        """Return this query string with these changes; an empty value removes a parameter."""
        values = {**self.given, **changes}
        return urlencode({name: value for name, value in values.items() if value})

    def only_link(self, name: str, value: object) -> str:
        """Return this query string for one group of a dimension only."""
        return self.link(**{name: str(value) if value != "" else NONE})

    def query(self, by: tuple[str, ...], **options: Any) -> ReportQuery:
        """Return the report by these dimensions."""
        only = {n: [int(v) if n == "status" else v] for n, v in self.only.items()}
        times = milliseconds(self.since), milliseconds(self.until) + 1
        only |= options.pop("only", {})
        return ReportQuery(by, *times, key=self.key, zone=self.zone, only=only, **options)

    def groups(self, unusual: VolumeLimits) -> ReportQuery:
        """Return the report of the table."""
        return self.query(
            self.by, unusual=unusual, order=self.order, is_ascending=self.is_ascending
        )


def dimensions_for(caller: Caller) -> list[str]:
    """Return what the caller's usage can be grouped by: a key sees itself only."""
    return [name for name in DIMENSIONS if caller.admin or name != "key"]


def read(
    arguments: MultiDict[str, str], caller: Caller, zone: str, has_unusual: bool, now: float
) -> Asked:
    """Read the query string. Raises `BadRequest`."""
    given = {name: value for name, value in arguments.items() if value}
    zone_given = _parsed("timezone", time_zone, given.get("timezone", zone))
    at = datetime.fromtimestamp(now, zone_given)

    def time(name: str, default: str) -> datetime:
        found: datetime = _parsed(name, lambda text: moment(text, at), given.get(name, default))
        return found

    since, until = time("since", DEFAULT_RANGE), time("until", at.isoformat())
    allowed = dimensions_for(caller)
    by = _choice("by", given.get("by", allowed[0] if caller.admin else "model"), allowed)
    then = _choice("then", given.get("then", ""), ["", *allowed])
    dimensions = (by,) if then in ("", by) else (by, then)
    measure = _choice("measure", given.get("measure", "requests"), MEASURES)
    ordered = [*dimensions, *(c.name for c in COLUMNS if c.name != "unusual_hours" or has_unusual)]
    # Times are in ascending order; other groups begin with the largest value.
    default = by if by in TIMES else measure
    order = given.get("sort", default)
    order = order if order in ordered else default
    direction = _choice("dir", given.get("dir", "asc" if order in TITLES else "desc"), _DIRECTIONS)
    return Asked(
        since,
        until,
        dimensions,
        measure,
        order,
        direction == "asc",
        zone_given,
        _values({name: given[name] for name in allowed if name in given}),
        None if caller.admin else caller.name,
        given,
    )


def _values(given: Mapping[str, str]) -> dict[str, str]:
    """Return the values to filter by, by dimension. Raises `BadRequest`."""
    for name, value in given.items():
        is_status = value.isdecimal() and len(value) == 3
        if name in TIMES or "\0" in value or (name == "status" and not is_status):
            raise BadRequest(f"Invalid value for '{name}': {shown(value, 64)}.", param=name)
    return {name: "" if value == NONE else value for name, value in given.items()}


def _choice(name: str, value: str, allowed: Any) -> str:
    if value not in allowed:
        known = ", ".join(filter(None, allowed))
        raise BadRequest(f"Invalid value for '{name}': {shown(value, 64)}. Known: {known}"[:300])
    return value


def _parsed(name: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"Invalid value for '{name}': {shown(error, 200)}.", param=name) from error
