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
def cache_stats(as_json: bool) -> None:
    """Show entries and bytes by model, and hits and misses by worker."""
    client, settings, namespace = _shared_cache("Its numbers are in GET /metrics.")
    from app.cache.admin import stats, table  # after the check above: needs the package redis

    found = _call(lambda: stats(client, namespace, settings.models))
    click.echo(json.dumps(found, indent=2) if as_json else table(found))


@cache.command("clear")
@click.option("--model", help="Only the vectors of this model.")
def cache_clear(model: str | None) -> None:
    """Remove vectors from the shared level and from every worker."""
    client, settings, namespace = _shared_cache("To clear it, restart the workers: send SIGHUP.")
    from app.cache.admin import clear  # after the check above: needs the package redis

    if model is not None and model not in settings.models:
        click.echo(f"no model {model!r} in MODELS; clearing entries left from it", err=True)
    removed = _call(lambda: clear(client, namespace, model))
    click.echo(f"{removed} entries removed. Within a second the workers drop their own.")


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
