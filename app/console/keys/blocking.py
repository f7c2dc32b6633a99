"""Blocks of keys and end users in the console: what is blocked, and the forms that change it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from flask import request

from app.auth.block_table import BlockTable
from app.auth.blocklist import BLOCKED_KINDS, Block, BlockedKind, Blocklist
from app.auth.key_rights import check_exists
from app.auth.key_table import KeyTable
from app.config import Settings
from app.console.keys.changes import actor_of, answered_errors, require_admin
from app.console.page import Answer, Page, redirect, render
from app.console.sessions import Session
from app.database.engine import Database
from app.errors import BadRequest

#: How long a block may last, as the form offers it: seconds; None: until it is unblocked.
DURATIONS: dict[str, tuple[str, int | None]] = {
    "1h": ("an hour", 3600),
    "24h": ("a day", 86_400),
    "7d": ("a week", 7 * 86_400),
    "": ("until it is unblocked", None),
}


class Blocking:
    """Reads and changes blocks; ``wake`` is called after a change of this process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        blocklist: Blocklist,
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._blocklist = blocklist
        self._wake = wake

    def in_force(self) -> list[Block]:
        """Return the blocks in the database that have not ended, the newest first."""
        now = time.time()
        with answered_errors():
            blocks = BlockTable(self._database).read()[1]
        found = [block for block in blocks if block.is_in_force(now)]
        return sorted(found, key=lambda block: -block.created)

    def of_settings(self) -> list[tuple[BlockedKind, str]]:
        """Return the blocks of the settings, which only a change of the settings can end."""
        return self._blocklist.in_settings()

    def block(self, session: Session, kind: BlockedKind, name: str, duration: str, why: str) -> str:
        """Block a key or an end user; return the message to show. Raises `BadRequest`."""
        if kind == "key" and name == session.caller.name:
            raise BadRequest("That is the key of this session: it would end with the block.")
        if duration not in DURATIONS:
            raise BadRequest("That is no duration of the form.")
        words, seconds = DURATIONS[duration]
        until = None if seconds is None else int(time.time()) + seconds
        with answered_errors():
            if kind == "key":
                check_exists(name, self._settings, KeyTable(self._database))
            BlockTable(self._database, actor=actor_of(session)).block(kind, name, until, why)
        self._wake()
        lasts = f"for {words}" if seconds else words
        return f"{_NOUNS[kind]} {name} is blocked {lasts}. All workers refuse it within 2 seconds."

    def unblock(self, session: Session, kind: BlockedKind, name: str) -> str:
        """End a block; return the message to show."""
        with answered_errors():
            found = BlockTable(self._database, actor=actor_of(session)).unblock(kind, name)
        self._wake()
        if self._blocklist.is_in_settings(kind, name):
            setting = f"BLOCKED_{kind.upper()}S"
            raise BadRequest(f"{_NOUNS[kind]} {name} is in {setting}: remove it there, and reload.")
        return f"{_NOUNS[kind]} {name} " + ("is no longer" if found else "was not") + " blocked."


_NOUNS = {"key": "The key", "user": "The end user"}


def add_block_forms(page: Page, blocking: Blocking) -> None:
    """Add the forms to a page, to which they lead back: ``/console/PAGE/block``, ``/unblock``.

    The name is in the address: of a line end in a field a browser makes CRLF, another name.
    """

    @page.get("/block")
    def form(session: Session) -> Answer:
        require_admin(session)
        kind, name = named(request.args)
        named_so: dict[str, Any] = {"kind": kind, "name": name}
        return render("block.html", **named_so, durations=DURATIONS, page=page.name)

    @page.post("/block")
    def block(session: Session) -> Answer:
        require_admin(session)
        fields = request.form
        kind, name = named(request.args or fields)
        why, duration = fields.get("reason", ""), fields.get("duration", "")
        return redirect(page.name, blocking.block(session, kind, name, duration, why))

    @page.post("/unblock")
    def unblock(session: Session) -> Answer:
        require_admin(session)
        return redirect(page.name, blocking.unblock(session, *named(request.args or request.form)))


def named(fields: Any) -> tuple[BlockedKind, str]:
    """Return the key or the end user that a form or a link names. Raises `BadRequest`."""
    kind, name = fields.get("kind", ""), fields.get("name", "")
    if kind not in BLOCKED_KINDS or not name:
        raise BadRequest("Nothing is named that can be blocked.")
    return cast(BlockedKind, kind), name
