"""``flask --app wsgi usage …``, for the operator. It needs no running proxy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from app import config
from app.cli.output import as_table
from app.cli.parameters import Dimensions, Moment, TimeZone
from app.config import UsageSettings
from app.usage import report as reports

if TYPE_CHECKING:
    from app.database.engine import Database

T = TypeVar("T")


def fail(message: object) -> NoReturn:
    """One line for the operator, and the end."""
    click.echo(str(message), err=True)
    sys.exit(1)


def configured() -> tuple[config.Settings, UsageSettings]:
    """The settings, which have to name a database."""
    try:
        settings = config.load()
    except config.SettingsError as error:
        fail(error)
    if settings.usage is None:
        fail("USAGE: must be set, for instance {'url': 'sqlite:////var/lib/proxy/usage.db'}")
    return settings, settings.usage


def with_database(usage: UsageSettings, work: Callable[[Database], T]) -> T:
    """What ``work`` returns; a database that is away ends the command with one line."""
    from app.database.engine import Database, Unavailable

    database = Database(usage.url)
    try:
        return work(database)
    except Unavailable as error:
        fail(f"USAGE['url']: {error} (are the tables there? flask --app wsgi usage migrate)")
    finally:
        database.close()


@click.group("usage")
def usage() -> None:
    """The usage ledger."""


@usage.command("migrate")
def migrate() -> None:
    """Make the tables, or bring them up to date."""
    _, settings = configured()
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
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def report(
    by: list[str],
    timezone: tzinfo,
    since: datetime,
    until: datetime,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Sum the requests up by any of: key, user, model, provider, deployment, status, error_code,
    day. Where USAGE["unusual"] is set, unusual_hours counts the hours of unusual volume."""
    _, settings = configured()  # first: without USAGE, the database's package may be missing
    from app.usage.store import Question, Store, Unusual

    unusual = Unusual(settings.unusual.requests_per_hour, settings.unusual.tokens_per_hour)
    times = reports.milliseconds(since), reports.milliseconds(until)
    question = Question(by, *times, unusual=unusual, zone=timezone)
    rows = with_database(settings, lambda d: Store(d).report(question))
    shown = [reports.readable(row) for row in rows]
    if as_json:
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(reports.as_csv(shown), nl=False)
    else:
        click.echo(as_table(shown))
