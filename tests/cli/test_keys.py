"""``flask --app wsgi key new | list | rotate | revoke``: output, output stream, exit code."""

import json

import pytest

from app.domain import Caller
from tests.cli.key_commands import made, owner, run, shown
from tests.cli.key_commands import table as table


def test_new_key_is_printed_once_and_has_the_given_rights(table):
    limits = ("--limit", "requests_per_minute=5", "--limit", "dollars_per_month=1.5")
    options = ("--model", "wordllama", "--admin", "--expires", "90d", "--network", "10.0.0.0/8")
    caller, networks = owner(table, made(run("new", "team", *options, *limits)))
    assert (caller.name, caller.admin, caller.models) == ("team", True, {"wordllama"})
    assert (caller.requests_per_minute, caller.dollars_per_month) == (5, 1.5)
    assert [str(network) for network in networks] == ["10.0.0.0/8"]
    assert run("new", "team").stderr == "there is a key 'team': revoke or rotate it\n"


def test_share_and_service_tiers_are_given_as_limits(table):
    tiers = ("--limit", "service_tier=priority", "--limit", "service_tiers=flex")
    secret = made(run("new", "team", "--limit", "share=2.5", "--limit", "fair_users=true", *tiers))
    caller, _ = owner(table, secret)
    assert (caller.share, caller.fair_users) == (2.5, True)
    assert (caller.service_tier, caller.service_tiers) == ("priority", {"flex"})
    limits = "fair_users=true service_tier=priority service_tiers=flex share=2.5"
    assert sorted(shown("team")[0]["limits"].split()) == limits.split()
    removed = [f"{name}=none" for name in ("share", "fair_users", "service_tier", "service_tiers")]
    run("edit", "team", *(part for limit in removed for part in ("--limit", limit)))
    assert shown("team")[0]["limits"] == ""
    assert owner(table, secret)[0] == Caller("team")


def test_list_shows_everything_but_the_keys(table):
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
        (("x", "--limit", "service_tier=auto"), 1, "service_tier: must be one of: priority"),
        (("x", "--limit", "service_tiers=flex,scale"), 1, "service_tiers[1]: must be one of"),
        (("x", "--limit", "fair_users=maybe"), 1, "fair_users: must be True or False"),
        (("x", "--limit", "share=0"), 1, "share: "),
        (("",), 1, "the name '' must not be empty"),
        (("oidc:x",), 1, "the name 'oidc:x' must not begin with 'oidc:'"),
        (("a\nb",), 1, "must be printable"),
        (("x", "--network", "10.0.0.1/8"), 2, "has host bits set"),
        (("x", "--expires", "2026-01-01"), 2, "is no duration: 90d, 12h, 30m"),
        (("x", "--expires", "soon"), 2, "is no duration: 90d, 12h, 30m"),
    ],
)
def test_new_key_with_invalid_options_is_refused(table, arguments, status, message):
    result = run("new", *arguments)
    assert (result.exit_code, message in result.stderr) == (status, True), result.output
    assert table.read()[1] == []


def test_note_is_printed_if_the_table_is_not_in_use(table, tmp_path):
    path = tmp_path / "settings.py"
    path.write_text(path.read_text().replace("True", "False"))
    assert 'USAGE["keys"] is not True' in run("list").stderr
