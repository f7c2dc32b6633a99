"""Commands of ``flask --app wsgi …`` for the operator. None of them needs a running proxy."""

from __future__ import annotations

import sys

import click

from app import config


@click.command("check-settings")
def check_settings() -> None:
    """Check the settings and name every mistake in them."""
    try:
        settings = config.load()
    except config.SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(
        f"The settings are good: {len(settings.models)} models, {len(settings.providers)} "
        f"providers, {len(settings.keys)} keys."
    )


@click.command("new-key")
@click.argument("name")
def new_key(name: str) -> None:
    """Make a key, show it once, and print the line for KEYS."""
    from app.access.keys import new_key as make

    key, digest = make()
    click.echo(f"The key, shown only now:\n\n    {key}\n\nThe line for KEYS:\n")
    click.echo(f'    {name!r}: {{"sha256": "{digest}", "models": ["*"]}},')
