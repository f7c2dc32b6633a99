"""The commands ``flask --app wsgi limits …``: show, reset and reconcile counters of limits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app import config
from app.cli.common import fail, load_settings, with_database
from app.cli.reconcile import reconciled
from app.cli.tables import json_option, print_rows
from app.domain import Caller

if TYPE_CHECKING:
    from app.limits.counters.redis import SharedWindows
    from app.limits.counters.windows import Window
    from app.limits.rules import Rule

T = TypeVar("T")
#: Timeout in seconds of a call to the server of the limits.
TIMEOUT_S = 30.0


@click.group("limits")
def limits() -> None:
    """Counters of the keys' limits, in the server of LIMITS["url"]."""


@limits.command("show")
@click.argument("key", required=False)
@json_option
def show(key: str | None, as_json: bool) -> None:
    """Limits of a key, or of all keys: what is used, and when that resets.

    Limits of end users are not shown: the server knows no names of end users.
    """
    settings = _settings()
    callers = [_caller(settings, key)] if key is not None else list(_callers(settings).values())
    found = _with_windows(
        settings, lambda w: [row for c in callers for row in _rows(settings, w, c)]
    )
    print_rows(found, as_json, "No limits.")


@limits.command("reset")
@click.argument("key")
def reset(key: str) -> None:
    """Set the counters of a key and of its end users to 0."""
    settings = _settings()
    caller = _caller(settings, key)
    from app.limits.rules import counters_of

    removed = _with_windows(settings, lambda windows: windows.forget(counters_of(caller)))
    click.echo(f"{removed} counters of {key!r} begin anew.")


@limits.command("reconcile")
@click.argument("key", required=False)
@click.option("--apply", "is_applied", is_flag=True, help="Count what the ledger says from now on.")
@json_option
def reconcile(key: str | None, is_applied: bool, as_json: bool) -> None:
    """Compare daily and monthly counters with the ledger; --apply sets them to its amounts.

    Limits of requests and of end users are left out: the ledger also has rows of requests that no
    limit counted, and the server knows no names of end users. The ledger lacks the usage of the
    last two seconds, so --apply takes it out of the counters.
    """
    settings = _settings()
    usage = settings.usage
    if usage is None:
        fail("USAGE: must be set: it is the ledger that limits are compared with")
    callers = [_caller(settings, key)] if key is not None else list(_callers(settings).values())
    found = _with_windows(settings, lambda w: reconciled(settings, usage, w, callers, is_applied))
    print_rows(found, as_json, "No limits of days and months.")


def _settings() -> config.Settings:
    settings = load_settings()
    if settings.limits.url is None:
        fail(
            "LIMITS['url'] is not set: each worker counts in its own memory until it restarts, "
            "where no command can reach. Set it to a Redis or Valkey"
        )
    return settings


def _callers(settings: config.Settings) -> dict[str, Caller]:
    """Return the callers by name: of KEYS, and of the table of keys if that is in use."""
    from app.auth.authenticator import caller_of

    found = {name: caller_of(key) for name, key in settings.keys.items()}
    if settings.usage is not None and settings.usage.keys:
        found = _callers_of_table(settings.usage) | found
    return found


def _callers_of_table(usage: config.UsageSettings) -> dict[str, Caller]:
    """Return the callers by name, each of the newest active key that workers accept."""
    from app.auth.database_keys import newest_callers
    from app.auth.key_table import KeyTable

    def warn(name: object, error: Exception) -> None:
        click.echo(f"the key {name!r:.100} in the table is skipped: {error}", err=True)

    entries = with_database(usage, lambda database: KeyTable(database).read()[1])
    return newest_callers(entries, time.time(), warn)


def _caller(settings: config.Settings, name: str) -> Caller:
    """Return the caller of a name; ``oidc:…`` is the caller of a token, with OIDC["limits"]."""
    from app.auth.authenticator import caller_of
    from app.config import unknown

    if name.startswith("oidc:") and settings.oidc is not None:
        given: dict[str, Any] = dict(settings.oidc.limits)
        return caller_of(config.KeySettings(name, "", **given))
    known = _callers(settings)
    if name not in known:
        fail(unknown("key", name, known, "KEYS or the table of keys"))
    return known[name]


def _with_windows(settings: config.Settings, ask: Callable[[SharedWindows], T | None]) -> T:
    """Return the result of ``ask``; a server that does not answer ends the command."""
    from app.limits.counters.redis import SharedWindows

    assert settings.limits.url is not None  # noqa: S101 - for mypy
    windows = SharedWindows(settings.limits.url, settings.limits.namespace, TIMEOUT_S)
    try:
        found = ask(windows)
    finally:
        windows.close()
    if found is None:
        fail(f"LIMITS['url']: {windows.remote.url} does not answer")
    return found


def _rows(
    settings: config.Settings, windows: SharedWindows, caller: Caller
) -> list[dict[str, Any]]:
    from app.limits.periods import zone_of
    from app.limits.rules import NO_AMOUNTS, make_periods, rules_of

    periods = make_periods(zone_of(settings.limits.timezone))
    rules = [rule for rule in rules_of(caller, periods) if not rule.is_per_user]
    if not rules:
        return []
    taken = windows.take([rule.take(NO_AMOUNTS, "") for rule in rules])
    if taken is None:
        fail(f"LIMITS['url']: {windows.remote.url} does not answer")
    return [_row(caller, *pair) for pair in zip(rules, taken.windows, strict=True)]


def _row(caller: Caller, rule: Rule, window: Window) -> dict[str, Any]:
    from app.limits.periods import CONCURRENT, Calendar

    resets = "as requests end" if rule.period is CONCURRENT else "slides"
    if isinstance(rule.period, Calendar):
        resets = datetime.fromtimestamp(window.end, rule.period.zone).isoformat()
    return {
        "key": caller.name,
        "limit": rule.setting,
        "most": rule.amount(rule.limit),
        "used": rule.amount(math.ceil(window.used)),
        "left": rule.amount(window.remaining),
        "resets": resets,
    }
