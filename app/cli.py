"""Commands of ``flask --app wsgi …`` for the operator. None of them needs a running proxy."""

from __future__ import annotations

import json
import sys

import click

from app import config


def _settings() -> config.Settings:
    try:
        return config.load()
    except config.SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.command("check-settings")
def check_settings() -> None:
    """Check the settings and name every mistake in them."""
    settings = _settings()
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


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON list.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds each call may take.")
@click.option("--no-batch", is_flag=True, help="Do not try a call of max_inputs inputs.")
def check(as_json: bool, timeout: float, no_batch: bool) -> None:
    """Check the settings, then ask every deployment of every model to embed probe texts."""
    from app.check import check as ask
    from app.check import table
    from app.dispatch import Dispatcher
    from app.providers.registry import make_used

    settings = _settings()
    dispatcher = Dispatcher(
        settings, make_used(settings), tokenizers=config.load_tokenizers(settings)
    )
    findings = ask(dispatcher.deployments(), timeout, no_batch)
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        click.echo(table(findings))
    sys.exit(any(finding.errors for finding in findings))
