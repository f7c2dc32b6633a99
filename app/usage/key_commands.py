"""``flask --app wsgi key …``, for the operator. It needs no running proxy."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from marshmallow import ValidationError

from app import config
from app.usage import report as reports
from app.usage.commands import configured, fail, with_database
from app.usage.parameters import Duration, Network

if TYPE_CHECKING:
    from app.access.table import KeyTable
    from app.usage.database import Database

T = TypeVar("T")


@click.group("key")
def key() -> None:
    """Keys in the ledger's database, beside those of KEYS."""


def _change(work: Callable[[config.Settings, KeyTable], T]) -> T:
    settings, usage = configured()
    if not usage.keys:
        click.echo(
            'Note: the proxy does not ask this table, for USAGE["keys"] is not True.', err=True
        )

    def change(database: Database) -> T:
        from app.access.table import KeyTable

        return work(settings, KeyTable(database))

    try:
        return with_database(usage, change)
    except ValueError as error:
        fail(error)


def _limits(given: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """``requests_per_minute=600`` …, checked as in KEYS."""
    from app.config_schema import messages
    from app.config_schema_services import LimitsOfKeySchema

    pairs = [limit.partition("=") for limit in given]
    values = {name: _number(value) for name, _, value in pairs}
    try:
        loaded: dict[str, float] = LimitsOfKeySchema().load(values)
    except ValidationError as error:
        raise ValueError("\n".join(messages(error.normalized_messages()))) from error
    return tuple(loaded.items())


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _show(made: str) -> None:
    click.echo(f"The key, shown only now:\n\n    {made}\n")


@key.command("new")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="May be repeated. Default: all.")
@click.option("--admin", is_flag=True)
@click.option("--expires", type=Duration(), help="90d, 12h …: from now. Default: never.")
@click.option("--limit", "limits", multiple=True, help="requests_per_minute=600 …, as in KEYS.")
@click.option("--network", "networks", type=Network(), multiple=True, help="10.0.0.0/8 …")
def new(
    name: str,
    models: tuple[str, ...],
    admin: bool,
    expires: float | None,
    limits: tuple[str, ...],
    networks: tuple[str, ...],
) -> None:
    """Make a key and show it once."""

    def make(settings: config.Settings, table: KeyTable) -> str:
        from app.access.table import Entry
        from app.config_schema import unknown

        if name in settings.keys:
            raise ValueError(f"there is a key {name!r} in KEYS: choose another name")
        for model in models:
            if model not in ("*", *settings.models):
                raise ValueError(unknown("model", model, [*settings.models, "*"], "MODELS"))
        end = None if expires is None else int(datetime.now(UTC).timestamp() + expires)
        return table.new(
            Entry(
                name,
                models=models or ("*",),
                admin=admin,
                limits=_limits(limits),
                networks=networks,
                expires=end,
            )
        )

    _show(_change(make))


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_keys(as_json: bool) -> None:
    """Every key of the table, never the key itself."""

    def rows(_: config.Settings, table: KeyTable) -> list[dict[str, Any]]:
        now = datetime.now(UTC).timestamp()
        return [
            {
                "name": e.name,
                "state": e.state(now),
                "sha256": e.sha256[:8],
                "models": ",".join(e.models),
                "admin": e.admin,
                "limits": " ".join(f"{name}={value}" for name, value in e.limits),
                "networks": ",".join(e.networks),
                "created": _date(e.created),
                "expires": _date(e.expires),
            }
            for e in table.read()[1]
        ]

    found = _change(rows)
    click.echo(json.dumps(found, indent=2) if as_json else reports.as_table(found, "No keys."))


def _date(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


@key.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """End all keys of a name; every worker refuses them within about 2 seconds."""
    ended = _change(lambda _, table: table.revoke(name))
    if not ended:
        fail(f"there is no key {name!r}")
    click.echo(f"Revoked: {ended}.")


@key.command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), default="24h", show_default=True)
def rotate(name: str, grace: float) -> None:
    """Make a new key with the same rights; the old one goes on for the grace."""
    _show(_change(lambda _, table: table.rotate(name, grace)))
