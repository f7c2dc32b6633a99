"""``flask --app wsgi key block …`` and ``… user block …``: output, output stream, exit code."""

import json
import time

import pytest
from click.testing import CliRunner

from app.auth.block_table import BlockTable
from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.cli.audit import audit
from app.cli.blocks import user
from app.cli.keys import key
from app.database.engine import Database
from app.database.migrations import migrate


def run(command, *arguments):
    return CliRunner().invoke(command, arguments)


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    path, url = tmp_path / "settings.py", f"sqlite:///{tmp_path}/keys.db"
    path.write_text(
        f"USAGE = {{'url': {url!r}, 'keys': True}}\nBLOCKED_KEYS = ['leaked']\n"
        "BLOCKED_USERS = ['mallory']\n"
    )
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    database = Database(url)
    migrate(database.engine)
    KeyTable(database).new(KeyEntry("team"))
    yield BlockTable(database)
    database.close()


def test_keys_and_users_are_blocked_and_unblocked(blocks):
    result = run(key, "block", "team", "--for", "2h", "--reason", "leaked on a forum")
    assert (result.exit_code, result.stdout[:24]) == (0, "Blocked: 'team', until 2"), result.output
    assert run(user, "block", "u 1").stdout == "Blocked: 'u 1', until it is unblocked.\n"
    assert run(key, "block", "default").exit_code == 0  # of KEYS
    of_team, of_user = [b for b in blocks.read()[1] if b.name != "default"]
    assert (of_team.kind, of_team.reason) == ("key", "leaked on a forum")
    assert 7100 < of_team.until - time.time() <= 7200
    assert (of_user.kind, of_user.name, of_user.until) == ("user", "u 1", None)
    listed = json.loads(run(key, "blocked", "--json").stdout)
    assert [(row["name"], row["reason"]) for row in listed] == [
        ("leaked", ""),
        ("default", ""),
        ("team", "leaked on a forum"),
    ]
    assert listed[0]["by"] == "the settings"
    assert [row["name"] for row in json.loads(run(user, "blocked", "--json").stdout)] == [
        "mallory",
        "u 1",
    ]
    assert run(key, "unblock", "team").stdout == "No longer blocked: 'team'.\n"
    assert run(user, "unblock", "u 1").exit_code == 0
    assert [b.name for b in blocks.read()[1]] == ["default"]
    actions = [row["action"] for row in json.loads(run(audit, "--json").stdout)]
    changes = ["key.block", "user.block", "key.block", "key.unblock", "user.unblock"]
    assert actions == ["key.new", *changes]


@pytest.mark.parametrize(
    ("command", "arguments", "status", "message"),
    [
        (key, ("block", "taem"), 1, "no key 'taem' in KEYS or the table of keys (did you mean"),
        (key, ("block", "oidc:jane"), 1, "no key 'oidc:jane'"),  # no OIDC
        (key, ("block", "team", "--for", "0s"), 2, "is no duration"),
        (key, ("block", "team", "--for", "0d"), 1, "would end before it begins"),
        (user, ("block", ""), 1, "must have 1 to 256 characters"),
        (user, ("unblock", "u"), 1, "'u' is not blocked"),
        (user, ("unblock", "mallory"), 1, "blocked by BLOCKED_USERS: remove it there and reload"),
    ],
)
def test_invalid_commands_change_nothing(blocks, command, arguments, status, message):
    result = run(command, *arguments)
    assert (result.exit_code, message in result.stderr) == (status, True), result.output
    assert blocks.read()[1] == []


def test_callers_of_tokens_are_blocked_by_their_names(blocks, tmp_path):
    with (tmp_path / "settings.py").open("a") as file:
        file.write("OIDC = {'issuer': 'https://id', 'audience': 'a', 'jwks_url': 'https://id/j'}\n")
    assert run(key, "block", "oidc:jane").exit_code == 0
    assert [b.name for b in blocks.read()[1]] == ["oidc:jane"]


def test_without_a_ledger_the_commands_name_the_setting(blocks, tmp_path):
    (tmp_path / "settings.py").write_text("")
    assert "USAGE: must be set" in run(user, "block", "u").stderr
