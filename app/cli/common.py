"""Shared by the commands: loading settings, opening the database, ending with an error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from app import config
from app.config import UsageSettings

if TYPE_CHECKING:
    from app.database.engine import Database

T = TypeVar("T")


def fail(message: object) -> NoReturn:
    """Print a message to standard error, and exit with status 1."""
    click.echo(str(message), err=True)
    sys.exit(1)


def load_settings() -> config.Settings:
    """Return the settings; mistakes in them end the command."""
    from app.providers import registry

    try:
        return config.load(registry)
    except config.SettingsError as error:
        fail(error)


def load_usage_settings() -> tuple[config.Settings, UsageSettings]:
    """Return all settings and those of the ledger; without a ledger the command ends."""
    settings = load_settings()
    if settings.usage is None:
        fail("USAGE: must be set, for instance {'url': 'sqlite:////var/lib/proxy/usage.db'}")
    return settings, settings.usage


def with_database(usage: UsageSettings, work: Callable[[Database], T]) -> T:
    """Return the result of ``work``; a database that does not answer ends the command."""
    from app.database.engine import Database, Unavailable

    database = Database(usage.url)
    try:
        return work(database)
    except Unavailable as error:
        fail(f"USAGE['url']: {error} (are the tables there? flask --app wsgi usage migrate)")
    finally:
        database.close()


def verified_settings() -> config.Settings:
    """Return the settings, with those of the providers checked; mistakes end the command."""
    from app.providers import registry

    settings = load_settings()
    try:
        registry.verify(settings)
    except config.SettingsError as error:
        fail(error)
    return settings
