"""The commands ``flask --app wsgi cache …``: show and clear the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from app import config
from app.cli.common import fail, verified_settings


@click.group("cache")
def cache() -> None:
    """Show or clear the cache: the shared level, and the memory of each worker."""


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="For machines: a JSON object.")
@click.option("--space", help="Only the vectors of this space.")
def cache_stats(as_json: bool, space: str | None) -> None:
    """Show entries and bytes by vector space, and hits and misses by worker."""
    client, settings, namespace = _shared_cache("Its numbers are in GET /metrics.")
    from app.cache.admin import stats, table  # after the check above: needs the package redis

    models: dict[str, list[str]] = {}
    for name, model in settings.models.items():
        models.setdefault(model.space, []).append(name)
    found = _call(lambda: stats(client, namespace, models, space))
    click.echo(json.dumps(found, indent=2) if as_json else table(found))


@cache.command("clear")
@click.option("--space", help="Only the vectors of this space.")
@click.option("--model", help="Only the vectors of this model's space.")
def cache_clear(space: str | None, model: str | None) -> None:
    """Remove vectors from the shared level and from every worker."""
    if space is not None and model is not None:
        fail("give --space or --model, not both: a model has one space")
    client, settings, namespace = _shared_cache("To clear it, restart the workers: send SIGHUP.")
    from app.cache.admin import clear  # after the check above: needs the package redis

    if model is not None:
        space = _space_of(settings, model)
    removed = _call(lambda: clear(client, namespace, space))
    click.echo(f"{removed} entries removed. Within a second the workers drop their own.")


def _space_of(settings: config.Settings, model: str) -> str:
    """Return the space of a model; a model that is not configured ends the command."""
    if model not in settings.models:
        text = config.unknown("model", model, settings.models, "MODELS")
        fail(f"{text}. `cache stats` shows the spaces that have entries; clear one by --space")
    return settings.models[model].space


def _shared_cache(otherwise: str) -> tuple[Any, config.Settings, str]:
    """Return a client of the shared level; without one, end with ``otherwise`` as a hint."""
    settings = verified_settings()
    if settings.cache is None:
        fail("CACHE is None: nothing is cached.")
    if settings.cache.url is None:
        text = "CACHE['url'] is not set: the cache is in the memory of each worker. "
        fail(text + otherwise)
    from app.redis.connect import connect

    url = settings.cache.url
    return _call(lambda: connect(url, timeout_s=5)), settings, settings.cache.namespace


def _call(ask: Callable[[], Any]) -> Any:
    """Return the result of ``ask``; a failure of the server ends the command."""
    from redis import RedisError
    from redis.exceptions import RedisClusterException

    try:
        return ask()
    except (RedisError, RedisClusterException, OSError) as error:
        fail(f"CACHE['url']: {error}")
