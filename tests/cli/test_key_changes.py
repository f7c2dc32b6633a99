"""Changes of keys by ``flask --app wsgi key …``, and their rows in the audit log."""

import hashlib
import json
import os
import pwd
import time

import pytest
import sqlalchemy as sa

from app.auth.key_entry import KeyEntry
from app.cli.audit import audit
from app.database.audit import os_actor
from app.database.columns import COLUMNS
from app.database.tables import requests
from tests.cli.key_commands import invoke, made, owner, run, shown
from tests.cli.key_commands import table as table


def test_edit_changes_only_the_named_rights(table):
    limits = ("--limit", "requests_per_minute=5", "--limit", "tokens_per_day=70")
    secret = made(run("new", "team", *limits, "--network", "10.0.0.0/8", "--expires", "1h"))
    before = table.read()[1][0]
    result = run(
        "edit", "team", "--limit", "requests_per_minute=none", "--limit", "dollars_per_month=2"
    )
    assert result.exit_code == 0, result.output
    assert "limits: {" in result.stdout
    assert "models" not in result.stdout
    (after,) = table.read()[1]
    assert dict(after.limits) == {"tokens_per_day": 70, "dollars_per_month": 2}
    assert (after.sha256, after.networks, after.expires) == (
        before.sha256,
        before.networks,
        before.expires,
    )
    options = ("--model", "wordllama", "--admin", "--any-network", "--expires", "never")
    assert "expires: " in run("edit", "team", *options).stdout
    (after,) = table.read()[1]
    assert (after.models, after.admin, after.networks) == (("wordllama",), True, ())
    assert after.expires is None
    assert owner(table, secret)[0].dollars_per_month == 2
    assert run("edit", "team", "--admin").stdout == "Nothing to change.\n"
    assert run("edit", "team", "--no-admin").stdout == "admin: True → False\n"


def test_edit_changes_a_rotated_key_and_does_not_extend_it(table):
    old = made(run("new", "team"))
    new = made(run("rotate", "team", "--grace", "1h"))
    ends = sorted(entry.expires or 0 for entry in table.read()[1])
    run("edit", "team", "--limit", "tokens_per_minute=9", "--expires", "90d")
    assert owner(table, old)[0].tokens_per_minute == owner(table, new)[0].tokens_per_minute == 9
    after = sorted(entry.expires for entry in table.read()[1])
    assert after[0] == ends[1]
    assert after[1] > ends[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("unknown", "--admin"), "there is no active key 'unknown'"),
        (("team", "--model", "wordlama"), "no model 'wordlama' in MODELS"),
        (("team", "--limit", "rpm=none"), "rpm: unknown setting"),
        (("team", "--limit", "tokens_per_day=0"), "tokens_per_day: "),
        (("team", "--network", "::1", "--any-network"), "exclude each other"),
    ],
)
def test_invalid_edit_changes_nothing(table, arguments, message):
    made(run("new", "team"))
    before = table.read()[1]
    result = run("edit", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True), result.output
    assert table.read()[1] == before


def test_show_prints_rights_and_the_last_use(table):
    made(run("new", "team", "--limit", "tokens_per_minute=9", "--network", "10.0.0.0/8"))
    (found,) = shown("team")
    assert found["limits"] == "tokens_per_minute=9"
    assert (found["networks"], found["last_use"]) == ("10.0.0.0/8", "")
    row = dict.fromkeys(COLUMNS, 0) | {"key": "team", "time": 1_700_000_000_999, "writer": "w"}
    row |= dict.fromkeys(("request_id", "user", "model", "provider", "deployment"), "")
    row |= dict.fromkeys(("error_code", "space", "service_tier"), "")
    rows = [row, row | {"number": 1, "time": 1_600_000_000_000}, row | {"number": 2, "key": "x"}]
    table._run(lambda connection: connection.execute(sa.insert(requests), rows))
    assert shown("team")[0]["last_use"] == "2023-11-14T22:13:20+00:00"
    assert "last_use  2023-11-14T22:13:20+00:00\n" in run("show", "team").stdout
    assert run("show", "unknown").stderr == "there is no key 'unknown'\n"
    assert shown("default")[0]["state"] == "in KEYS"


def test_rotate_has_an_option_for_expiry(table):
    made(run("new", "team", "--expires", "1h"))
    result = run("rotate", "team", "--expires", "90d")
    new = made(result)
    assert f"It expires {shown('team')[-1]['expires']}." in result.stdout
    assert max(e.expires for e in table.read()[1]) > time.time() + 80 * 86400
    assert owner(table, new)
    assert "It does not expire." in run("rotate", "team", "--expires", "never").stdout


def test_expired_key_is_rotated_only_with_an_expiry(table):
    table.new(KeyEntry("team", expires=int(time.time()) - 5))
    result = run("rotate", "team")
    assert result.exit_code == 1
    assert "the key 'team' has expired" in result.stderr
    assert len(table.read()[1]) == 1
    assert owner(table, made(run("rotate", "team", "--expires", "1h")))


def test_changes_are_in_the_audit_log_without_secrets(table, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "alice")
    assert invoke(audit).stdout == "No changes.\n"
    secrets = [made(run("new", "team", "--limit", "tokens_per_day=70"))]
    secrets.append(made(run("rotate", "team", "--grace", "1h")))
    run("edit", "team", "--admin")
    run("edit", "team", "--admin")  # changes nothing
    run("revoke", "team")
    run("revoke", "team")
    made(run("new", "other"))
    result = invoke(audit, "--json")
    rows = json.loads(result.stdout)
    assert [(row["action"], row["subject"]) for row in rows] == [
        ("key.new", "team"),
        ("key.rotate", "team"),
        ("key.edit", "team"),
        ("key.revoke", "team"),
        ("key.new", "other"),
    ]
    assert {row["actor"].partition(" ")[2] for row in rows} == {"(sudo: alice)"}
    assert rows[0]["detail"]["limits"] == {"tokens_per_day": 70}
    assert rows[2]["detail"] == {"admin": [False, True]}
    text = result.stdout + invoke(audit).stdout
    digests = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    assert not [secret for secret in secrets + digests if secret in text]
    assert len(json.loads(invoke(audit, "--json", "--of", "other").stdout)) == 1
    assert json.loads(invoke(audit, "--json", "--until", "1d").stdout) == []


def test_refused_change_is_not_in_the_audit_log(table):
    made(run("new", "team"))
    run("new", "team")
    run("edit", "team", "--limit", "rpm=1")
    assert len(json.loads(invoke(audit, "--json").stdout)) == 1


def test_actor_without_user_name_is_the_user_id(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os_actor() == f"os:{os.getuid()}"
