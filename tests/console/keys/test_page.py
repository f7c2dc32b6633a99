"""The page Keys: keys made, edited, rotated and revoked, as the command does it."""

import html
import re
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from werkzeug.datastructures import MultiDict

from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.database.audit import events
from app.database.tables import blocks, keys
from tests.api.fake import FakeProvider
from tests.console.ledger_app import XSS, LedgerApp
from tests.support.settings import KEY
from tests.usage.conftest import row
from tests.usage.conftest import sqlite as sqlite

NEW = {"name": "team", "every_model": "yes", "expires": "90d", "service_tiers": ["default", "flex"]}


@pytest.fixture
def app(sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr("app.providers.registry.make", lambda _: FakeProvider())
    made = LedgerApp(sqlite, tmp_path / "spool")
    yield made
    made.services.close()


@pytest.fixture
def admin(app):
    return app.visitor()


def plaintext(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    (found,) = re.findall(r"sk-[\w-]{40,}", answer.text)
    return found


def active(app, name="team"):
    return [e for e in app.keys.read()[1] if e.name == name and e.state(time.time()) == "active"]


def form_of(page):
    """Return the fields of the form of rights, as a browser would send them."""
    text = page.text.partition('keys/edit"')[2]
    text = text.partition("</form>")[0]
    fields = MultiDict()
    for tag in re.findall(r"<input [^>]*>", text):
        values = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if values.get("type") != "checkbox" or " checked" in tag:
            fields.add(values["name"], html.unescape(values.get("value", "on")))
    for name, inner in re.findall(r'<select [^>]*name="(\w+)"[^>]*>(.*?)</select>', text, re.S):
        options = re.findall(r"<option([^>]*)>([^<]*)", inner)
        chosen = next((o for o in options if " selected" in o[0]), options[0])
        value = re.search(r'value="([^"]*)"', chosen[0])
        fields.add(name, value[1] if value else chosen[1])
    (networks,) = re.findall(r"<textarea[^>]*>([^<]*)", text)
    fields.add("networks", networks)
    return {name: values if len(values) > 1 else values[0] for name, values in fields.lists()}


def test_made_key_is_shown_once_and_works(app, admin):
    limits = {"requests_per_minute": "1,000", "dollars_per_month": "2.5", "warn_at": "0.8"}
    more = {"networks": "127.0.0.0/8, ::1/128\n10.0.0.0/8", "share": "2", "service_tier": "flex"}
    made = admin.post("keys/new", **{**NEW, **limits, **more, "fair_users": "yes"})
    key = plaintext(made)
    assert app.status_of(key)[0] == 200
    (entry,) = active(app)
    assert dict(entry.limits) == {
        "requests_per_minute": 1000,
        "dollars_per_month": 2.5,
        "warn_at": 0.8,
        "share": 2,
        "fair_users": True,
        "service_tier": "flex",
    }
    assert entry.networks == ("127.0.0.0/8", "::1/128", "10.0.0.0/8")
    assert 89 * 86_400 < entry.expires - time.time() < 91 * 86_400
    assert key not in admin.get("keys").text + admin.get("keys/key", name="team").text
    (event,) = app.database.run(lambda c: events(c, 0, 10**15))
    assert (event["actor"], event["action"]) == ("key:root (127.0.0.1)", "key.new")


def test_key_of_some_models_only(app, admin):
    fields = {**NEW, "every_model": "", "models": ["steady", "org/model"], "expires": "never"}
    key = plaintext(admin.post("keys/new", **fields))
    assert app.status_of(key) == (403, "model_not_allowed")
    assert app.status_of(key, model="steady")[0] == 200
    assert active(app)[0].expires is None


def test_invalid_new_key_is_refused_with_the_form_as_it_was(app, admin):
    for fields, message in (
        ({"name": ""}, "must not be empty"),
        ({"name": "tests"}, "in KEYS: choose another name"),
        ({"name": "oidc:x"}, "must not begin with"),
        ({"every_model": ""}, "Choose a model"),
        ({"every_model": "", "models": ["nope"]}, "No model &#39;nope&#39;"),
        ({"requests_per_minute": "many"}, "must be a whole number"),
        ({"warn_at": "7"}, "warn_at"),
        ({"share": "0"}, "share"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"networks": "10.0.0.1/8"}, "has host bits set"),
        ({"expires": "keep"}, "Say when the key expires"),
        ({"expires": "date", "expires_on": "2020-01-01"}, "That date is over"),
        ({"expires": "date", "expires_on": "soon"}, "is no date"),
        ({"expires": "9y"}, "is no date"),
        ({"expires_on": "2099-01-01"}, "A date is given and another end, too"),
        # A decimal comma: without it, the limit would be a hundred times as high.
        ({"dollars_per_month": "10,50"}, "write a point before decimals"),
        ({"share": "1,5"}, "write a point before decimals"),
        ({"models": ["steady"]}, "choose one of both"),  # and every_model, as the form begins
    ):
        answer = admin.post("keys/new", **{**NEW, "tokens_per_day": "77", **fields})
        assert (answer.status_code, message in answer.text) == (400, True), (fields, answer.text)
        assert 'value="77"' in answer.text
    assert app.keys.read()[1] == []
    plaintext(admin.post("keys/new", **NEW))
    assert "there is a key" in admin.post("keys/new", **NEW).text.lower()


def test_edit_changes_what_the_form_says_and_nothing_else(app, admin):
    entry = KeyEntry(
        "team",
        models=("steady",),
        limits=(("tokens_per_day", 70), ("share", 1.5), ("service_tiers", ["flex"])),
        networks=("10.0.0.0/8",),
        expires=int(time.time()) + 86_400,
    )
    app.keys.new(entry)
    (before,) = active(app)
    fields = form_of(admin.get("keys/key", name="team"))
    same = admin.post("keys/edit", **fields)
    assert "No change." in admin.follow(same).text
    assert active(app) == [before]
    changed = {**fields, "tokens_per_day": "", "requests_per_minute": "5", "networks": ""}
    done = admin.post("keys/edit", **changed)
    assert "The key team is changed: limits, networks." in admin.follow(done).text
    (after,) = active(app)
    assert dict(after.limits) == {
        "requests_per_minute": 5,
        "share": 1.5,
        "service_tiers": ["flex"],
    }
    assert replace(after, limits=before.limits, networks=before.networks) == before
    fields = form_of(admin.get("keys/key", name="team"))
    admin.post("keys/edit", **{**fields, "expires_on": "2099-01-31"})  # with "As it is" chosen
    (dated,) = active(app)
    assert datetime.fromtimestamp(dated.expires, UTC).isoformat() == "2099-01-31T23:59:59+00:00"
    app.keys.edit("team", lambda entry: replace(entry, expires=after.expires))
    fields["seen"] = "0" * 16
    # The form of before the change would undo it.
    stale = admin.post("keys/edit", **fields)
    assert (stale.status_code, "changed meanwhile" in stale.text) == (400, True)
    assert active(app) == [after]


def test_invalid_edit_keeps_the_form_and_the_key(app, admin):
    app.keys.new(KeyEntry("team"))
    fields = form_of(admin.get("keys/key", name="team"))
    answer = admin.post("keys/edit", **{**fields, "tokens_per_day": "x1"})
    assert (answer.status_code, 'value="x1"' in answer.text) == (400, True)
    assert active(app)[0].limits == ()
    assert admin.get("keys/key", name="unknown").status_code == 404
    assert admin.post("keys/edit", **{**fields, "name": "unknown"}).status_code == 404


def test_rotation_and_its_grace(app, admin):
    old = app.keys.new(KeyEntry("team", models=("steady",)))
    new = plaintext(admin.post("keys/rotate", name="team", grace="1h", expires="keep"))
    assert {app.status_of(key, model="steady")[0] for key in (old, new)} == {200}
    page = admin.get("keys/key", name="team").text
    assert "An older key of this name is valid until" in page
    assert "replaced, still valid" in admin.get("keys").text
    newest = plaintext(admin.post("keys/rotate", name="team", grace="0", expires="30d"))
    assert [app.status_of(key, model="steady")[0] for key in (old, new, newest)] == [401, 401, 200]
    assert admin.post("keys/rotate", name="team", grace="9y", expires="keep").status_code == 400
    assert admin.post("keys/rotate", name="unknown", grace="0", expires="keep").status_code == 400


def test_expired_key_is_rotated_with_an_expiry_only(app, admin):
    app.keys.new(KeyEntry("team", expires=int(time.time()) - 5))
    assert 'value="keep"' not in admin.get("keys/key", name="team").text.partition("Rotate")[2]
    answer = admin.post("keys/rotate", name="team", grace="0", expires="keep")
    assert "has expired" in answer.text
    plaintext(admin.post("keys/rotate", name="team", grace="0", expires="90d"))


def test_revoked_key_is_refused_and_leaves_the_list(app, admin):
    key = app.keys.new(KeyEntry("team"))
    assert app.status_of(key)[0] == 200
    done = admin.post("keys/revoke", name="team")
    assert "The key team is revoked." in admin.follow(done).text
    assert app.status_of(key) == (401, "invalid_api_key")
    assert "keys/key?name=team" not in admin.get("keys").text
    assert "keys/key?name=team" in admin.get("keys", ended="yes").text
    page = admin.get("keys/key", name="team")
    assert "The key is revoked." in page.text
    assert "keys/edit" not in page.text
    assert "There is no key team." in admin.follow(admin.post("keys/revoke", name="team")).text


def test_list_has_last_use_states_and_keys_of_the_settings(app, admin):
    app.keys.new(KeyEntry("team", limits=(("tokens_per_month", 5_000_000),)))
    app.keys.new(KeyEntry("other"))
    app.blocks.block("key", "other")
    app.refresh()
    app.store.insert([row(1, key="team", time=1_780_000_000_000)])
    page = admin.get("keys").text
    assert "2026-05-28 20:26:40 UTC" in page
    assert "5,000,000" in page
    assert page.count("in the settings") == 3
    assert page.count(">blocked<") == 1
    found = admin.get("keys", q="TEA").text
    assert ("name=team" in found, "name=other" in found) == (True, False)
    assert "No key has that in its name." in admin.get("keys", q="zzz").text


def test_key_is_blocked_and_unblocked_from_its_page(app, admin):
    key = app.keys.new(KeyEntry("team"))
    assert "keys/block?kind=key" in admin.get("keys/key", name="team").text
    admin.post("keys/block", kind="key", name="team", duration="1h")
    assert app.status_of(key) == (403, "key_blocked")
    page = admin.get("keys/key", name="team").text
    assert "keys/unblock" in page
    assert ("key.block" in page, "block</th>" in page) == (False, True)  # in its history
    admin.post("keys/unblock", kind="key", name="team")
    assert app.status_of(key)[0] == 200


def test_session_of_a_key_of_the_table_ends_with_it_and_cannot_revoke_itself(app, admin):
    key = app.keys.new(KeyEntry("boss", admin=True))
    app.refresh()
    boss = app.visitor(key)
    assert boss.get("keys").status_code == 200
    assert boss.post("keys/revoke", name="boss").status_code == 400
    fields = form_of(boss.get("keys/key", name="boss"))
    assert boss.post("keys/edit", **{**fields, "tokens_per_day": "5"}).status_code == 303
    fields = form_of(boss.get("keys/key", name="boss"))
    answer = boss.post("keys/edit", **{**fields, "admin": ""})
    assert (answer.status_code, "the key of this session" in answer.text) == (400, True)
    assert active(app, "boss")[0].admin
    admin.post("keys/revoke", name="boss")
    app.refresh()
    answer = boss.get("keys")
    assert (answer.status_code, "login" in answer.headers["Location"]) == (303, True)


def test_plain_keys_and_strangers_may_change_nothing(app):
    app.keys.new(KeyEntry("team"))
    before = app.keys.read()
    plain, stranger = app.visitor(KEY), app.app.test_client()
    for path in ("new", "edit", "rotate", "revoke", "block", "unblock"):
        fields = {**NEW, "kind": "key", "grace": "0"}
        assert plain.post(f"keys/{path}", **fields).status_code == 403
        answer = stranger.post(f"/console/keys/{path}", data=fields)
        assert "login" in answer.headers["Location"]
    assert app.keys.read() == before
    assert "Keys</a>" not in plain.get("use").text


def test_change_without_the_csrf_token_is_refused(app, admin):
    app.keys.new(KeyEntry("team"))
    before = app.keys.read()
    for path in ("new", "edit", "rotate", "revoke", "block", "unblock"):
        for csrf in ("", "x", app.visitor(KEY).csrf()):
            fields = {**NEW, "kind": "key", "grace": "0"}
            assert admin.post(f"keys/{path}", csrf, **fields).status_code == 403
    assert app.keys.read() == before


def test_names_and_values_are_escaped(app, admin):
    app.keys.new(KeyEntry(XSS, models=(XSS,), networks=(XSS,)))
    KeyTable(app.database, actor=XSS).edit(XSS, lambda e: replace(e, admin=True))
    for page in (
        admin.get("keys"),
        admin.get("keys", q=XSS),
        admin.get("keys/key", name=XSS),
        admin.post("keys/new", **{**NEW, "name": XSS, "share": XSS, "networks": XSS}),
        admin.post("keys/rotate", name=XSS, grace="0", expires="keep"),
        admin.get("keys/block", kind="key", name=XSS),
        admin.follow(admin.post("keys/revoke", name=XSS)),
    ):
        assert "<img" not in page.text
        assert "&lt;img" in page.text


def test_edit_refuses_a_key_with_a_limit_that_it_does_not_know(app, admin):
    """A newer version wrote it. The form would remove it, and the key would be valid without it."""
    app.keys.new(KeyEntry("team", limits=(("images_per_day", 5), ("tokens_per_day", 7))))
    fields = form_of(admin.get("keys/key", name="team"))
    answer = admin.post("keys/edit", **{**fields, "tokens_per_day": "8"})
    assert (answer.status_code, "images_per_day" in answer.text) == (400, True)
    assert dict(active(app)[0].limits) == {"images_per_day": 5, "tokens_per_day": 7}


@pytest.mark.parametrize("end", [1_767_225_600_000_000, -(10**14), "2027-01-31"])
def test_row_of_an_operators_own_sql_does_not_fail_the_pages(app, admin, end):
    """The time is in another unit, or no number."""
    for name in ("odd", "good"):
        app.keys.new(KeyEntry(name, expires=int(time.time()) + 60))
    value = sa.literal(end, sa.Text()) if isinstance(end, str) else end
    odd = sa.update(keys).where(keys.c.name == "odd").values(expires=value)
    app.database.run(lambda connection: connection.execute(odd))
    app.blocks.block("user", "someone")
    until = sa.update(blocks).values(until=value)
    app.database.run(lambda connection: connection.execute(until))
    app.keys.edit("good", lambda entry: replace(entry, admin=True))
    app.refresh()
    assert "keys/key?name=good" in admin.get("keys", ended="yes").text
    assert admin.get("use").status_code == 200
    assert ("someone" in admin.get("use").text) is (end != -(10**14))  # that has ended
    assert admin.get("keys/key", name="odd").status_code in (200, 404)


def test_name_of_a_new_key_is_bounded(app, admin):
    """So that it fits into the database's index, an address, and the name of a block."""
    answer = admin.post("keys/new", **{**NEW, "name": "n" * 257})
    assert (answer.status_code, "256 characters" in answer.text) == (400, True)
    plaintext(admin.post("keys/new", **{**NEW, "name": "n" * 256}))
    assert admin.post("keys/block", kind="key", name="n" * 256, duration="").status_code == 303
