"""``flask --app wsgi key …``: what it prints, where, and how it ends."""

import json
import re

import pytest
from click.testing import CliRunner

from app.access.table import KeyTable
from app.access.table_keys import TableKeys
from app.usage.database import Database
from app.usage.key_commands import key
from app.usage.migrations import migrate


def run(*arguments):
    return CliRunner().invoke(key, arguments)


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "settings.py"
    url = f"sqlite:///{tmp_path}/keys.db"
    path.write_text(f"USAGE = {{'url': {url!r}, 'keys': True}}\n")
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    database = Database(url)
    migrate(database.engine)
    yield KeyTable(database)
    database.close()


def made(result):
    assert result.exit_code == 0, result.output
    (found,) = re.findall(r"sk-[\w-]+", result.stdout)
    return found


def owner(table, secret):
    known = TableKeys(table)
    known.refresh()
    return known.identify(secret)


def test_a_new_key_is_shown_once_and_does_what_was_said(table):
    limits = ("--limit", "requests_per_minute=5", "--limit", "dollars_per_month=1.5")
    options = ("--model", "wordllama", "--admin", "--expires", "90d", "--network", "10.0.0.0/8")
    caller, networks = owner(table, made(run("new", "team", *options, *limits)))
    assert (caller.name, caller.admin, caller.models) == ("team", True, {"wordllama"})
    assert (caller.requests_per_minute, caller.dollars_per_month) == (5, 1.5)
    assert [str(network) for network in networks] == ["10.0.0.0/8"]
    assert run("new", "team").stderr == "there is a key 'team': revoke or rotate it\n"


def test_the_list_shows_all_but_the_keys(table):
    assert run("list").stdout == "No keys.\n"
    secret = made(run("new", "team", "--limit", "tokens_per_minute=9"))
    made(run("new", "other", "--expires", "1h"))
    run("revoke", "team")
    lines = run("list").stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "state", "sha256"]
    assert sorted(line.split()[:2] for line in lines[1:]) == [
        ["other", "active"],
        ["team", "revoked"],
    ]
    found = {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}
    assert found["team"]["limits"] == "tokens_per_minute=9"
    assert found["other"]["expires"] > found["other"]["created"]
    assert secret not in run("list", "--json").stdout


def test_revoke_and_rotate(table):
    old = made(run("new", "team"))
    new = made(run("rotate", "team", "--grace", "1h"))
    assert owner(table, old) == owner(table, new)
    assert run("revoke", "team").stdout == "Revoked: 2.\n"
    result = run("revoke", "team")
    assert (result.exit_code, result.stderr) == (1, "there is no key 'team'\n")
    result = run("rotate", "team")
    assert (result.exit_code, result.stderr) == (1, "there is no active key 'team'\n")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("default",), 1, "there is a key 'default' in KEYS: choose another name"),
        (("x", "--model", "wordlama"), 1, "no model 'wordlama' in MODELS (did you mean"),
        (("x", "--limit", "rpm=5"), 1, "rpm: unknown setting (known: requests_per_minute"),
        (("x", "--limit", "requests_per_minute=many"), 1, "must be a whole number"),
        (("x", "--network", "10.0.0.1/8"), 2, "has host bits set"),
        (("x", "--expires", "2026-01-01"), 2, "is no duration: 90d, 12h, 30m"),
        (("x", "--expires", "soon"), 2, "is no duration: 90d, 12h, 30m"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(table, arguments, status, message):
    result = run("new", *arguments)
    assert (result.exit_code, message in result.stderr) == (status, True), result.output
    assert table.read()[1] == []


def test_without_the_setting_the_operator_is_told(table, tmp_path):
    path = tmp_path / "settings.py"
    path.write_text(path.read_text().replace("True", "False"))
    assert 'USAGE["keys"] is not True' in run("list").stderr
