"""The commands ``block``, ``unblock`` and ``blocked`` of the groups ``key`` and ``user``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app import config
from app.auth.blocklist import BLOCKED_KINDS, BlockedKind
from app.auth.key_rights import check_exists
from app.cli.common import fail, load_usage_settings, with_database
from app.cli.parameters import Duration
from app.cli.tables import json_option, print_rows

if TYPE_CHECKING:
    from app.database.engine import Database

T = TypeVar("T")


@click.group("user")
def user() -> None:
    """End users, as the field `user` of requests names them."""


def _with_database(work: Callable[[config.Settings, Database], T]) -> T:
    """Return the result of ``work``; a ValueError of it ends the command."""
    settings, usage = load_usage_settings()
    try:
        return with_database(usage, lambda database: work(settings, database))
    except ValueError as error:
        fail(error)


def _commands_for(kind: BlockedKind) -> tuple[click.Command, ...]:
    what = {"key": "a key, by its name and whatever its origin", "user": "an end user"}[kind]
    whats = {"key": "keys", "user": "end users"}[kind]

    @click.command(
        "block", help=f"Refuse the requests of {what}; every worker does within about 2 seconds."
    )
    @click.argument("name")
    @click.option("--for", "duration", type=Duration(), help="90d, 12h … Default: until unblocked.")
    @click.option("--reason", default="", help="For operators; callers do not see it.")
    def block(name: str, duration: float | None, reason: str) -> None:
        until = None if duration is None else int(time.time() + duration)

        def change(settings: config.Settings, database: Database) -> None:
            from app.auth.block_table import BlockTable
            from app.auth.key_table import KeyTable

            if kind == "key":
                check_exists(name, settings, KeyTable(database))
            BlockTable(database).block(kind, name, until, reason)

        _with_database(change)
        click.echo(f"Blocked: {name!r}, {_end(until)}.")

    @click.command("unblock", help=f"End the block of {what}.")
    @click.argument("name")
    def unblock(name: str) -> None:
        def change(settings: config.Settings, database: Database) -> None:
            from app.auth.block_table import BlockTable

            found = BlockTable(database).unblock(kind, name)
            if name in _blocked_by(settings, kind):
                raise ValueError(
                    f"{name!r} is blocked by BLOCKED_{kind.upper()}S: remove it there and reload"
                )
            if found is None:
                raise ValueError(f"{name!r} is not blocked")

        _with_database(change)
        click.echo(f"No longer blocked: {name!r}.")

    @click.command("blocked", help=f"List blocked {whats}, those of the settings too.")
    @json_option
    def blocked(as_json: bool) -> None:
        print_rows(_with_database(partial(_rows, kind)), as_json, "None is blocked.")

    return block, unblock, blocked


#: The three commands, by what they block.
BLOCK_COMMANDS = {kind: _commands_for(kind) for kind in BLOCKED_KINDS}
for _command in BLOCK_COMMANDS["user"]:
    user.add_command(_command)


def _blocked_by(settings: config.Settings, kind: BlockedKind) -> frozenset[str]:
    return settings.blocked_keys if kind == "key" else settings.blocked_users


def _rows(kind: BlockedKind, settings: config.Settings, database: Database) -> list[dict[str, Any]]:
    from app.auth.block_table import BlockTable

    now, columns = time.time(), ("name", "since", "until", "reason", "by")
    found = [(name, "", "", "", "the settings") for name in sorted(_blocked_by(settings, kind))]
    for b in BlockTable(database).read()[1]:
        if b.kind == kind and b.is_in_force(now):
            found.append((b.name, _date(b.created), _date(b.until), b.reason, b.actor))
    return [dict(zip(columns, values, strict=True)) for values in found]


def _date(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _end(until: int | None) -> str:
    return "until it is unblocked" if until is None else f"until {_date(until)}"
