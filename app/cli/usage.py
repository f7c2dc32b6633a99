"""The commands ``flask --app wsgi usage …``: migrations and reports."""

from __future__ import annotations

from datetime import datetime, tzinfo

import click

from app.cli.common import fail, load_usage_settings, with_database
from app.cli.parameters import Dimensions, Moment, TimeZone
from app.cli.tables import json_option, print_rows
from app.usage.reports import report as reports


@click.group("usage")
def usage() -> None:
    """The usage ledger."""


@usage.command("migrate")
def migrate() -> None:
    """Create the tables, or bring them up to date."""
    _, settings = load_usage_settings()
    from sqlalchemy.exc import SQLAlchemyError

    from app.database.engine import Database
    from app.database.migrations import migrate as bring_up_to_date

    database = Database(settings.url)
    try:
        before, after = bring_up_to_date(database.engine)
    except SQLAlchemyError as error:
        fail(f"USAGE['url']: {getattr(error, 'orig', None) or error}")
    finally:
        database.close()
    click.echo(f"Nothing to do: {after}." if before == after else f"{before or 'empty'} → {after}.")


@usage.command("report")
@click.option("--by", type=Dimensions(), default="key,model", show_default=True)
@click.option(
    "--timezone",
    type=TimeZone(),
    default="UTC",
    is_eager=True,
    show_default=True,
    help="Of days and dates: Europe/Berlin …",
)
@click.option("--since", type=Moment(), default="7d", show_default=True, help="7d, 2026-01-31 …")
@click.option("--until", type=Moment(), default="0m", help="The same. Default: now.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@json_option
def report(
    by: list[str],
    timezone: tzinfo,
    since: datetime,
    until: datetime,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Sum the requests up by any of: key, user, model, provider, deployment, service_tier, status,
    error_code, day, hour. Where USAGE["unusual"] is set, unusual_hours counts hours of unusual
    volume."""
    _, settings = load_usage_settings()  # before the import, whose package only USAGE needs
    from app.usage.store.store import ReportQuery, Store, VolumeLimits

    unusual = VolumeLimits(settings.unusual.requests_per_hour, settings.unusual.tokens_per_hour)
    times = reports.milliseconds(since), reports.milliseconds(until)
    query = ReportQuery(by, *times, unusual=unusual, zone=timezone)
    rows = with_database(settings, lambda d: Store(d).report(query))
    shown = [reports.readable(row, timezone) for row in rows]
    if as_csv and not as_json:
        click.echo(reports.as_csv(shown), nl=False)
    else:
        print_rows(shown, as_json, "No requests in that time.")
