"""The command ``flask --app wsgi audit``: list changes of keys and settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from app.cli.common import load_usage_settings, with_database
from app.cli.parameters import Moment
from app.cli.tables import json_option, print_rows
from app.usage.reports import report as reports


@click.command("audit")
@click.option("--since", type=Moment(), default="30d", show_default=True, help="7d, 2026-01-31 …")
@click.option("--until", type=Moment(), default="0m", help="The same. Default: now.")
@click.option("--of", "subject", help="Only changes of this key.")
@json_option
def audit(since: datetime, until: datetime, subject: str | None, as_json: bool) -> None:
    """Changes of keys and settings: when, by whom, what. The newest 1,000 of the time."""
    _, usage = load_usage_settings()
    from app.database.audit import events  # after the check above: needs the package sqlalchemy

    # ``until`` is excluded; rows of the present millisecond are to be listed.
    times = reports.milliseconds(since), reports.milliseconds(until) + 1
    found = with_database(usage, lambda d: d.run(lambda c: events(c, *times, subject)))
    rows = [row | {"time": _time(row["time"])} for row in found]
    if not as_json:
        rows = [_line(**row) for row in rows]
    print_rows(rows, as_json, "No changes.")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _line(detail: Any, **row: Any) -> dict[str, Any]:
    return row | {"what": json.dumps(detail, ensure_ascii=False, sort_keys=True)}
