"""Commands of ``flask --app wsgi …`` for the operator. None of them needs a running proxy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from app import config


def _settings() -> config.Settings:
    from app.providers import registry

    try:
        settings = config.load(registry)
        registry.verify(settings)
        return settings
    except config.SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.command("check-settings")
def check_settings() -> None:
    """Check the settings by building the app, and name every mistake in them."""
    from app.config.check_process import mistakes

    # First in a process of its own: settings are a program, which may never return.
    if wrong := mistakes():
        click.echo("\n".join(wrong), err=True)
        sys.exit(1)
    settings = _settings()
    click.echo(
        f"The settings are good: {len(settings.models)} models, {len(settings.providers)} "
        f"providers, {len(settings.keys)} keys."
    )


@click.command("new-key")
@click.argument("name")
def new_key(name: str) -> None:
    """Make a key, show it once, and print the line for KEYS."""
    from marshmallow import ValidationError

    from app.auth.keys import new_key as make
    from app.config.fields import key_name, text

    try:
        text(key_name).deserialize(name)
    except ValidationError as error:
        click.echo(f"the name {name!r:.100} {' '.join(error.messages)}", err=True)
        sys.exit(1)

    key, digest = make()
    click.echo(f"The key, shown only now:\n\n    {key}\n\nThe line for KEYS:\n")
    click.echo(f'    {name!r}: {{"sha256": "{digest}", "models": ["*"]}},')


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON list.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds each call may take.")
@click.option("--no-batch", is_flag=True, help="Do not try a call of max_inputs inputs.")
@click.option("--all", "with_services", is_flag=True, help="Ask Valkey, database, JWKS … too.")
def check(as_json: bool, timeout: float, no_batch: bool, with_services: bool) -> None:
    """Check the settings, then ask every deployment of every model to embed probe texts."""
    from app.cli import check_services
    from app.cli.check import check as ask
    from app.cli.check import table
    from app.dispatch import Dispatcher
    from app.providers.registry import make_used

    settings = _settings()
    dispatcher = Dispatcher(
        settings, make_used(settings), tokenizers=config.load_tokenizers(settings)
    )
    findings = ask(dispatcher.deployments(), timeout, no_batch)
    asked = check_services.services(settings, timeout) if with_services else {}
    services = check_services.check_services(asked, timeout)
    if as_json:
        deployments = [finding.as_dict() for finding in findings]
        both = {"deployments": deployments, "services": [s.as_dict() for s in services]}
        click.echo(json.dumps(both if with_services else deployments, indent=2))
    else:
        click.echo(table(findings))
        if services:
            click.echo(check_services.table(services))
    sys.exit(any(finding.errors for finding in findings) or not all(s.ok for s in services))


@click.group("cache")
def cache() -> None:
    """Look into the cache, or clear it: that which is shared, and that of each worker."""


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON object.")
def cache_stats(as_json: bool) -> None:
    """Entries and bytes by model; what each worker holds, found and did not find."""
    client, settings, namespace = _shared_cache("Its numbers are in GET /metrics.")
    from app.cache.admin import stats, table  # after it: only with CACHE["url"] is redis needed

    found = _asked(lambda: stats(client, namespace, settings.models))
    click.echo(json.dumps(found, indent=2) if as_json else table(found))


@cache.command("clear")
@click.option("--model", help="Only the vectors of this model.")
def cache_clear(model: str | None) -> None:
    """Forget vectors, in the shared level and in every worker."""
    client, settings, namespace = _shared_cache("To clear it, restart the workers: send SIGHUP.")
    from app.cache.admin import clear  # after it: only with CACHE["url"] is redis needed

    if model is not None and model not in settings.models:
        click.echo(f"no model {model!r} in MODELS; clearing what there may be of it", err=True)
    removed = _asked(lambda: clear(client, namespace, model))
    click.echo(f"{removed} entries removed. Within a second the workers drop their own.")


def _shared_cache(otherwise: str) -> tuple[Any, config.Settings, str]:
    """A client of the shared level; without one an exit that says what to do ``otherwise``."""
    settings = _settings()
    if settings.cache is None:
        click.echo("CACHE is None: nothing is cached.", err=True)
        sys.exit(1)
    if settings.cache.url is None:
        text = "CACHE['url'] is not set: the cache is in the memory of each worker. "
        click.echo(text + otherwise, err=True)
        sys.exit(1)
    from app.redis.connect import connect

    url = settings.cache.url
    return _asked(lambda: connect(url, timeout_s=5)), settings, settings.cache.namespace


def _asked(ask: Callable[[], Any]) -> Any:
    """What a server answers; its failure in one line."""
    from redis import RedisError
    from redis.exceptions import RedisClusterException

    try:
        return ask()
    except (RedisError, RedisClusterException, OSError) as error:
        click.echo(f"CACHE['url']: {error}", err=True)
        sys.exit(1)
