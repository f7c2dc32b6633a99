"""The commands ``flask --app wsgi key …``: manage the keys of the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app import config
from app.auth.key_rights import changed_limits, check_models, new_entry
from app.cli.blocks import BLOCK_COMMANDS
from app.cli.common import fail, load_usage_settings, with_database
from app.cli.parameters import Duration, ExpiryOption, Network, end_of, expiry_of
from app.cli.tables import json_option, print_rows

if TYPE_CHECKING:
    from app.auth.key_entry import KeyEntry
    from app.auth.key_table import KeyTable
    from app.database.engine import Database

T = TypeVar("T")


@click.group("key")
def key() -> None:
    """Keys in the ledger's database, besides those of KEYS."""


for _command in BLOCK_COMMANDS["key"]:
    key.add_command(_command)


def _change(work: Callable[[config.Settings, KeyTable], T]) -> T:
    settings, usage = load_usage_settings()
    if not usage.keys:
        click.echo(
            'Note: the proxy does not use this table, because USAGE["keys"] is not True.', err=True
        )

    def change(database: Database) -> T:
        from app.auth.key_table import KeyTable

        return work(settings, KeyTable(database))

    try:
        return with_database(usage, change)
    except ValueError as error:
        fail(error)


def _print_key(key: str) -> None:
    click.echo(f"The key, shown only now:\n\n    {key}\n")


@key.command("new")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="May be repeated. Default: all.")
@click.option("--admin", is_flag=True)
@click.option("--expires", type=ExpiryOption(), default="never", help="90d, 12h …: from now.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    help="requests_per_minute=600, service_tier=flex …, as in KEYS.",
)
@click.option("--network", "networks", type=Network(), multiple=True, help="10.0.0.0/8 …")
def new(
    name: str,
    models: tuple[str, ...],
    admin: bool,
    expires: float | str,
    limits: tuple[str, ...],
    networks: tuple[str, ...],
) -> None:
    """Create a key and show it once."""

    def make(settings: config.Settings, table: KeyTable) -> str:
        rights: dict[str, Any] = {"models": models, "admin": admin, "limits": limits}
        entry = new_entry(settings, name, **rights, networks=networks, expires=end_of(expires))
        return table.new(entry)

    _print_key(_change(make))


@key.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys of the table by name; the keys themselves are not stored."""

    def rows(_: config.Settings, table: KeyTable) -> list[dict[str, Any]]:
        return [_row(entry) for entry in table.read()[1]]

    print_rows(_change(rows), as_json, "No keys.")


@key.command("show")
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the rights of the keys of a name, and the time of the last request with it.

    A request counts after a few seconds; a request whose key was refused does not count.
    """

    def rows(settings: config.Settings, table: KeyTable) -> list[dict[str, Any]]:
        found = [_row(entry) for entry in table.read()[1] if entry.name == name]
        if name in settings.keys:
            found.append(_row_of_settings(settings.keys[name]))
        last = _date(table.last_use(name)) if found else ""
        return [row | {"last_use": last} for row in found]

    found = _change(rows)
    if not found:
        fail(f"there is no key {name!r}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    width = max(map(len, found[0]))
    texts = ["\n".join(f"{n:{width}}  {v}".rstrip() for n, v in row.items()) for row in found]
    click.echo("\n\n".join(texts))


def _row(entry: KeyEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "state": entry.state(datetime.now(UTC).timestamp()),
        "sha256": entry.sha256[:8],
        "models": ",".join(entry.models),
        "admin": entry.admin,
        "limits": " ".join(f"{name}={_shown(value)}" for name, value in entry.limits),
        "networks": ",".join(entry.networks),
        "created": _date(entry.created),
        "expires": _date(entry.expires),
    }


def _row_of_settings(key: config.KeySettings) -> dict[str, Any]:
    """Return the row of a key of KEYS; its time of creation is not known."""
    from app.auth.key_entry import KeyEntry
    from app.config.sections.keys import KEY_OPTIONS

    default = config.KeySettings(key.name, key.sha256)
    values = {name: getattr(key, name) for name in KEY_OPTIONS}
    limits = tuple((n, v) for n, v in values.items() if v != getattr(default, n))
    models = ("*",) if key.models is None else tuple(sorted(key.models))
    row = _row(KeyEntry(key.name, key.sha256, models, key.admin, limits))
    return row | {"state": "in KEYS", "created": ""}


def _shown(value: Any) -> str:
    """Return a value as ``--limit`` takes it."""
    if isinstance(value, list | frozenset):
        return ",".join(sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _date(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


@key.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke all keys of a name; every worker refuses them within about 2 seconds."""
    ended = _change(lambda _, table: table.revoke(name))
    if not ended:
        fail(f"there is no key {name!r}")
    click.echo(f"Revoked: {ended}.")


@key.command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), default="24h", show_default=True)
@click.option(
    "--expires",
    type=ExpiryOption(),
    help="Of the new key: 90d, 12h … from now, or never. Default: when the old one would have.",
)
def rotate(name: str, grace: float, expires: float | str | None) -> None:
    """Create a key with the same rights; the old one stays valid for the grace period."""

    def change(_: config.Settings, table: KeyTable) -> tuple[str, int | None]:
        made = table.rotate(name, grace, expiry_of(expires))
        return made, table.newest(name).expires

    made, end = _change(change)
    _print_key(made)
    click.echo(f"It expires {_date(end)}." if end is not None else "It does not expire.")


@key.command("edit")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="Replaces all models; '*': any.")
@click.option("--admin/--no-admin", default=None)
@click.option("--expires", type=ExpiryOption(), help="90d, 12h … from now, or never.")
@click.option("--limit", "limits", multiple=True, help="requests_per_minute=600, or =none.")
@click.option("--network", "networks", type=Network(), multiple=True, help="Replaces all networks.")
@click.option("--any-network", is_flag=True, help="Allow every address.")
def edit(
    name: str,
    models: tuple[str, ...],
    admin: bool | None,
    expires: float | str | None,
    limits: tuple[str, ...],
    networks: tuple[str, ...],
    any_network: bool,
) -> None:
    """Change the rights of a key that the options name.

    Every worker applies them within about 2 seconds, also to an older key in its grace period.
    """
    if networks and any_network:
        fail("--network and --any-network exclude each other")

    def change(settings: config.Settings, table: KeyTable) -> dict[str, list[Any]]:
        from app.auth.key_table import UNCHANGED

        check_models(models, settings.models)
        end = expiry_of(expires)

        def changed(entry: KeyEntry) -> KeyEntry:
            return replace(
                entry,
                models=models or entry.models,
                admin=entry.admin if admin is None else admin,
                limits=tuple(changed_limits(dict(entry.limits), limits).items()),
                networks=() if any_network else networks or entry.networks,
                expires=entry.expires if end is UNCHANGED else end,
            )

        return table.edit(name, changed)

    changes = _change(change)
    for column, (before, after) in changes.items():
        if column == "expires":
            before, after = _date(before) or "never", _date(after) or "never"
        click.echo(f"{column}: {before} → {after}")
    if not changes:
        click.echo("Nothing to change.")
