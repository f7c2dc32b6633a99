"""The page Keys: list, make, edit, rotate and revoke keys of the database; administrators only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from flask import request

from app.auth.blocklist import Blocklist
from app.auth.key_entry import KeyEntry
from app.auth.key_rights import new_entry
from app.auth.key_table import UNCHANGED, KeyTable
from app.config import Settings
from app.console.keys.blocking import Blocking, add_block_forms
from app.console.keys.changes import actor_of, answered_errors
from app.console.keys.form import KEEP, KeyForm, check_known, choices, version_of
from app.console.keys.key_views import KeyView, history_of, view_of_settings, views_of
from app.console.page import Answer, Page, Rendered, redirect, render
from app.console.sessions import Session
from app.database.engine import Database
from app.errors import BadRequest, NotFound, shown

#: Keys of one list; others are found by their names.
MAX_KEYS_SHOWN = 200
#: How long the old key of a rotation stays valid, as the form offers it: seconds.
GRACES = {
    "0": ("not at all: it ends now", 0),
    "1h": ("1 hour", 3600),
    "24h": ("1 day", 86_400),
    "7d": ("7 days", 7 * 86_400),
}


@dataclass(frozen=True, slots=True)
class Keys:
    """What the page reads and changes; ``wake`` is called after a change of this process."""

    settings: Settings
    database: Database
    blocklist: Blocklist
    wake: Callable[[], None]

    def table(self, session: Session | None = None) -> KeyTable:
        return KeyTable(self.database, actor=actor_of(session) if session is not None else "")

    def newest(self, name: str) -> KeyEntry:
        """Return the newest key of a name, ended or not. Raises `NotFound`."""
        entries = [entry for entry in self.table().read()[1] if entry.name == name]
        if not entries:
            raise NotFound(f"There is no key {shown(name, 100)} in the database.")
        valid = [entry for entry in entries if entry.revoked is None]
        return max(valid or entries, key=KeyEntry.age_order)


def keys_page(keys: Keys, blocking: Blocking) -> Page:
    """Return the page."""
    page = Page("keys", "Keys", admin_only=True)
    _add_views(page, keys)
    _add_changes(page, keys)
    add_block_forms(page, blocking)
    return page


def _add_views(page: Page, keys: Keys) -> None:
    settings = keys.settings

    @page.get()
    def listing(_: Session) -> Answer:
        with answered_errors():
            entries = keys.table().read()[1]
        views = [*views_of(entries, time.time()), *map(view_of_settings, settings.keys.values())]
        wanted, is_all = request.args.get("q", "").strip(), request.args.get("ended") == "yes"
        found = [v for v in views if wanted.lower() in v.name.lower()]
        valid = [v for v in found if is_all or not v.has_ended]
        some = valid[:MAX_KEYS_SHOWN]
        with answered_errors():
            used = keys.table().last_uses(view.name for view in some)
        shown_keys = [
            v.with_state(used.get(v.name), keys.blocklist.blocks_key(v.name)) for v in some
        ]
        values: dict[str, Any] = {
            "wanted": wanted,
            "is_all": is_all,
            "ended": len(found) - len(valid),
            "left_out": len(valid) - len(some),
        }
        return render("keys.html", keys=shown_keys, **values)

    @page.get("/key")
    def one(session: Session) -> Answer:
        return show_key(keys, request.args.get("name", ""))

    @page.get("/new")
    def empty_form(_: Session) -> Answer:
        form = KeyForm()
        return render("key_new.html", form=form, error="", **choices(settings.models, is_new=True))


def show_key(
    keys: Keys, name: str, form: KeyForm | None = None, error: str = "", status: int = 200
) -> Rendered:
    """Show a key with its form, and the mistake in the form if there is one."""
    with answered_errors():
        newest = keys.newest(name)
        entries = [entry for entry in keys.table().read()[1] if entry.name == name]
        used = keys.table().last_uses([name]).get(name)
        history = history_of(keys.database, name, time.time())
    views = views_of(entries, time.time())
    is_blocked = keys.blocklist.blocks_key(name)
    return render(
        "key.html",
        status,
        key=view_of(newest, views).with_state(used, is_blocked),
        others=[v for v in views if v.sha256 != newest.sha256 and not v.has_ended],
        form=form or KeyForm.of(newest),
        error=error,
        graces=GRACES,
        history=history,
        is_blocked_by_settings=keys.blocklist.is_in_settings("key", name),
        **choices(keys.settings.models, is_new=False),
    )


def view_of(entry: KeyEntry, views: Sequence[KeyView]) -> KeyView:
    """Return the view of an entry."""
    return next(view for view in views if view.sha256 == entry.sha256)


def _add_changes(page: Page, keys: Keys) -> None:
    settings = keys.settings

    @page.post("/new")
    def make(session: Session) -> Answer:
        form = KeyForm.read(request.form)
        try:
            with answered_errors():
                rights = form.rights(settings.models)
                if form.expires == KEEP:
                    raise ValueError("say when the key expires")
                entry = new_entry(settings, form.name, expires=form.end(time.time(), None))
                plaintext = keys.table(session).new(replace(entry, **rights))
        except BadRequest as error:
            options = choices(settings.models, is_new=True)
            return render("key_new.html", 400, form=form, error=error.message, **options)
        keys.wake()
        return render("key_made.html", name=form.name, plaintext=plaintext, old_ends=None)

    @page.post("/edit")
    def edit(session: Session) -> Answer:
        form = KeyForm.read(request.form)
        try:
            with answered_errors():
                _check_own_rights(form, session, settings)
                changed = keys.table(session).edit(form.name, _edited(form, settings.models))
        except BadRequest as error:
            return show_key(keys, form.name, form, error.message, 400)
        keys.wake()
        text = f"The key {form.name} is changed: {', '.join(changed)}." if changed else "No change."
        return redirect(_place(form.name), text)

    @page.post("/rotate")
    def rotate(session: Session) -> Answer:
        name, grace = request.form.get("name", ""), request.form.get("grace", "")
        form = KeyForm.read(request.form)
        if grace not in GRACES:
            raise BadRequest("That is no time of the form.")
        with answered_errors():
            expires = UNCHANGED if form.expires == KEEP else form.end(time.time(), None)
            plaintext = keys.table(session).rotate(name, GRACES[grace][1], expires)
        keys.wake()
        ends = time.time() + GRACES[grace][1]
        return render("key_made.html", name=name, plaintext=plaintext, old_ends=ends)

    @page.post("/revoke")
    def revoke(session: Session) -> Answer:
        name = request.form.get("name", "")
        if name == session.caller.name and name not in settings.keys:
            raise BadRequest("That is the key of this session: log in with another to revoke it.")
        with answered_errors():
            ended = keys.table(session).revoke(name)
        keys.wake()
        text = f"The key {name} is revoked. All workers refuse it within 2 seconds."
        return redirect("keys", text if ended else f"There is no key {name}.", failed=not ended)


def _edited(form: KeyForm, models: Mapping[str, Any]) -> Callable[[KeyEntry], KeyEntry]:
    """Return the change of a form. It raises ValueError if the key has changed meanwhile."""

    def change(entry: KeyEntry) -> KeyEntry:
        if form.seen != version_of(entry):
            raise ValueError("the key has been changed meanwhile: load the page again")
        check_known(entry)
        rights = form.rights(models)
        return replace(entry, **rights, expires=form.end(time.time(), entry.expires))

    return change


def _check_own_rights(form: KeyForm, session: Session, settings: Settings) -> None:
    """Raise ValueError where an administrator would lose the console, and could not undo it."""
    is_own = form.name == session.caller.name and form.name not in settings.keys
    if is_own and not form.admin:
        raise ValueError("it is the key of this session: log in with another to take its rights")


def _place(name: str) -> str:
    return f"keys/key?{urlencode({'name': name})}"
