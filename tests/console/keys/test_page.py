"""The page Keys: the list, keys rotated, revoked and blocked, and who may do that."""

import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.database.tables import blocks, keys
from tests.console.keys.forms import NEW, active, form_of, plaintext
from tests.console.ledger_app import XSS
from tests.support.settings import KEY
from tests.usage.conftest import row


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
