"""The columns of the page Use: their titles, and how their values are shown."""

from __future__ import annotations

from dataclasses import dataclass

#: Titles of the dimensions that usage is grouped by.
TITLES = {
    "key": "Key",
    "user": "End user",
    "model": "Model",
    "provider": "Provider",
    "deployment": "Deployment",
    "service_tier": "Service tier",
    "status": "Status",
    "error_code": "Error code",
    "day": "Day",
    "hour": "Hour",
}
#: Dimensions that are times.
TIMES = ("day", "hour")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures. ``kind`` is the filter of the template that formats its values."""

    name: str  # as in `app.usage.reports.report.readable`
    title: str
    kind: str = "number"


COLUMNS = (
    Column("requests", "Requests"),
    Column("prompt_tokens", "Tokens"),
    Column("cached_tokens", "Cached tokens"),
    Column("cost", "Cost", "money"),
    Column("mean_ms", "Mean time", "milliseconds"),
    Column("refused", "Refused"),
    Column("invalid", "Invalid"),
    Column("failed", "Failed"),
    Column("unusual_hours", "Unusual hours"),
)
#: What the bars can show, by name.
MEASURES = {
    column.name: column
    for column in COLUMNS
    if column.name in ("requests", "prompt_tokens", "cost", "refused", "failed")
}
