"""The page Use blocks keys and end users."""

import html
import re

import pytest

from app.database.audit import events
from tests.console.ledger_app import table, used
from tests.support.settings import KEY, NARROW_KEY
from tests.usage.conftest import sqlite as sqlite


def test_block_and_unblock_of_a_user_and_a_key(make, sqlite):
    app = make(sqlite)
    visitor = app.visitor()
    assert app.status_of(KEY, user="u-bad")[0] == 200
    form = visitor.get("use/block", kind="user", name="u-bad")
    assert "an end user" in form.text
    done = visitor.post("use/block", kind="user", name="u-bad", duration="24h", reason="spam")
    assert "The end user u-bad is blocked for a day." in visitor.follow(done).text
    visitor.post("use/block", kind="key", name="narrow", duration="")
    assert app.status_of(KEY, user="u-bad") == (403, "user_blocked")
    assert app.status_of(NARROW_KEY, model="steady") == (403, "key_blocked")
    assert app.status_of(KEY, user="u-good")[0] == 200
    of_key, of_user = app.blocks.read()[1]
    assert of_user.until - of_user.created == 86_400
    assert (of_user.reason, of_key.until) == ("spam", None)
    assert of_key.actor == "key:root (127.0.0.1)"
    rows = table(visitor.get("use"), "blocked")
    assert [cells[:2] for cells in rows] == [["narrow", "key"], ["u-bad", "end user"]]
    done = visitor.post("use/unblock", kind="user", name="u-bad")
    assert "is no longer blocked" in visitor.follow(done).text
    assert app.status_of(KEY, user="u-bad")[0] == 200
    found = app.database.run(lambda c: events(c, 0, 10**15))
    assert [(e["actor"], e["action"], e["subject"]) for e in found] == [
        ("key:root (127.0.0.1)", "user.block", "u-bad"),
        ("key:root (127.0.0.1)", "key.block", "narrow"),
        ("key:root (127.0.0.1)", "user.unblock", "u-bad"),
    ]


def send_form(visitor, page, path):
    """Send the page's form with this path as a browser does: it makes a CRLF of each line end."""
    action, inner = re.search(
        rf'action="([^"]*{path}[^"]*)"[^>]*>(.*?)</form>', page, re.S
    ).groups()
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', inner)
    data = {name: re.sub(r"\r\n?|\n", "\r\n", html.unescape(value)) for name, value in fields}
    relative = html.unescape(action).rpartition("console/")[2]
    return visitor.post(relative, **data, duration="")


@pytest.mark.parametrize("user", ["a\nb", "a\rb", "\n", " ", "a&b;c=d?e#f%41+", '"><x', "a\0b"])
def test_user_of_any_name_is_blocked_and_unblocked_by_the_forms(make, sqlite, user):
    """A name must not be a way around: the page says that the user is blocked."""
    app = make(sqlite, BLOCKED_USERS=["other"])
    assert app.status_of(KEY, user=user)[0] == 200
    used(app, (1, {"user": user.replace("\0", "\ufffd")}))  # as the ledger has it
    visitor = app.visitor()
    table_page = visitor.get("use", by="user")
    link = re.search(r'href="[^"]*(use/block\?[^"]*)"', table_page.text)[1]
    form = visitor.get(html.unescape(link))
    assert send_form(visitor, form.text, "use/block").status_code == 303
    assert app.status_of(KEY, user=user) == (403, "user_blocked")
    assert app.status_of(KEY, user=user + "x")[0] == 200
    assert send_form(visitor, visitor.get("use").text, "use/unblock").status_code == 303
    assert app.status_of(KEY, user=user)[0] == 200


def test_invalid_block_changes_nothing(make, sqlite):
    app = make(sqlite)
    visitor = app.visitor()
    for fields in (
        {"kind": "key", "name": "root"},  # the key of this session
        {"kind": "key", "name": "narow"},  # there is none
        {"kind": "team", "name": "x"},
        {"kind": "user", "name": ""},
        {"kind": "user", "name": "x" * 300},
        {"kind": "user", "name": "x", "duration": "9y"},
        {"kind": "user", "name": "x", "reason": "r" * 600},
    ):
        answer = visitor.post("use/block", **{"duration": "", **fields})
        assert answer.status_code == 400, fields
    assert app.blocks.read()[1] == []


def test_change_without_the_csrf_token_is_refused(make, sqlite):
    app = make(sqlite)
    visitor = app.visitor()
    for csrf in ("", "0" * 64, app.visitor(KEY).csrf()):
        for path in ("use/block", "use/unblock", "keys/block", "keys/unblock"):
            assert visitor.post(path, csrf, kind="user", name="x").status_code == 403
    assert app.blocks.read()[1] == []


def test_blocks_of_the_settings_are_shown_and_cannot_be_ended(make, sqlite):
    app = make(sqlite, BLOCKED_USERS=["mallory"])
    visitor = app.visitor()
    assert table(visitor.get("use"), "blocked")[0][0] == "mallory"
    answer = visitor.post("use/unblock", kind="user", name="mallory")
    assert (answer.status_code, "BLOCKED_USERS" in answer.text) == (400, True)
