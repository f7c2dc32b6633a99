"""``flask limits show | reset``: counters in a real Valkey."""

import json
import time

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.cli.limits import limits
from app.config import load
from app.database.engine import Database
from app.database.migrations import migrate
from app.domain import Caller, EmbeddingRequest
from app.errors import QuotaExhausted
from app.limits.limiter import make_limiter
from tests.overlays import environment, overlay
from tests.redis.patience import PATIENT_S, patient_steps
from tests.support.server import free_port

__all__ = ["environment", "overlay", "patient_steps"]  # fixtures
KEYS = {
    "search": {"sha256": "1" * 64, "tokens_per_day": 100, "requests_per_minute": 5},
    "free": {"sha256": "2" * 64},
}


@pytest.fixture
def set_up(overlay, valkey, redis):
    """Settings that count in the server."""

    def set_up(url=valkey.url, **others):
        names = {
            "KEYS": KEYS,
            "LIMITS": {"url": url, "timeout": PATIENT_S, "timezone": "Europe/Berlin"},
            **others,
        }
        overlay("".join(f"{name} = {value!r}\n" for name, value in names.items()))

    return set_up


def run(*arguments):
    return CliRunner().invoke(limits, arguments)


@pytest.fixture
def use():
    """Admit requests with these tokens, as a worker does."""
    made = []

    def use(tokens, **fields):
        limiter = make_limiter(load())
        made.append(limiter)
        caller = Caller("search", tokens_per_day=100, requests_per_minute=5, **fields)
        return limiter.admit(caller, EmbeddingRequest("m", [[5] * tokens], user="u"))

    yield use
    for limiter in made:
        limiter.close()


def test_usage_of_each_key_is_shown(set_up, use):
    set_up()
    use(40)
    rows = json.loads(run("show", "--json").stdout)
    shown = [(row["key"], row["limit"], row["most"], row["used"], row["left"]) for row in rows]
    assert shown == [
        ("search", "requests_per_minute", 5, 1, 4),
        ("search", "tokens_per_day", 100, 40, 60),
    ]
    assert rows[0]["resets"] == "slides"
    assert "T00:00:00+0" in rows[1]["resets"]
    assert "tokens_per_day" in run("show", "search").stdout
    assert run("show", "free").stdout == "No limits.\n"


def test_concurrent_requests_are_shown_and_reset(set_up, use):
    set_up(KEYS={"search": {"sha256": "1" * 64, "concurrent_requests": 2}})
    use(1, concurrent_requests=2)  # and it does not end
    for expected in ([2, 1, 1], [2, 0, 2]):
        (row,) = json.loads(run("show", "--json").stdout)
        assert row["limit"] == "concurrent_requests"
        assert [row["most"], row["used"], row["left"]] == expected
        assert row["resets"] == "as requests end"
        assert run("reset", "search").exit_code == 0


def test_money_is_shown_in_dollars(set_up):
    set_up(KEYS={"search": {"sha256": "1" * 64, "dollars_per_month": 2.5}})
    (row,) = json.loads(run("show", "--json").stdout)
    assert (row["most"], row["used"], row["left"]) == (2.5, 0, 2.5)


def test_reset_sets_counters_to_0(set_up, use, redis):
    set_up()
    use(90, user_requests_per_minute=1)
    with pytest.raises(QuotaExhausted):
        use(20)
    result = run("reset", "search")
    assert (result.exit_code, result.stdout) == (0, "3 counters of 'search' begin anew.\n")
    assert redis.keys("*") == []
    use(100)


def test_keys_of_the_table_and_oidc_callers_are_shown(set_up, tmp_path):
    url = f"sqlite:///{tmp_path}/keys.db"
    database = Database(url)
    migrate(database.engine)
    KeyTable(database).new(KeyEntry("team", limits=(("tokens_per_month", 7),)))
    database.close()
    oidc = {"issuer": "i", "audience": "a", "jwks_url": "https://id/jwks"}
    set_up(USAGE={"url": url, "keys": True}, OIDC={**oidc, "limits": {"tokens_per_day": 9}})
    assert " 7 " in run("show", "team").stdout
    assert " 9 " in run("show", "oidc:alice").stdout


@pytest.fixture
def table(set_up, tmp_path):
    """A table of keys that the settings name; its clock stands at `now` of the test."""
    url = f"sqlite:///{tmp_path}/keys.db"
    database = Database(url)
    migrate(database.engine)
    set_up(USAGE={"url": url, "keys": True})
    yield lambda now: KeyTable(database, lambda: now), database
    database.close()


def test_newest_active_key_of_a_name_is_shown(table):
    at, _ = table
    now = int(time.time())
    old = KeyEntry("team", limits=(("tokens_per_month", 7),), expires=now - 500)
    at(now - 1000).new(old)
    at(now - 400).new(KeyEntry("team", limits=(("tokens_per_month", 50),)))
    at(now - 300).new(KeyEntry("gone", expires=now - 200))
    assert [row["most"] for row in json.loads(run("show", "team", "--json").stdout)] == [50]
    assert "no key 'gone' in KEYS" in run("show", "gone").stderr


@pytest.mark.parametrize("command", [["show"], ["show", "team"], ["reset", "team"], ["reconcile"]])
@pytest.mark.parametrize("limits", ['{"words_per_day": 5}', '{"dollars_per_month": 1e999}'])
def test_invalid_row_is_skipped_and_the_other_keys_are_shown(table, command, limits):
    at, database = table
    now = time.time()
    at(now - 9).new(KeyEntry("team", limits=(("tokens_per_month", 7),)))
    at(now).new(KeyEntry("odd"))
    changed = sa.text("UPDATE access_keys SET limits = :limits WHERE name = 'odd'")
    database.run(lambda connection: connection.execute(changed, {"limits": limits}))
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "team" in result.stdout
    name = limits.split('"')[1]
    assert result.stderr.startswith(f"the key 'odd' in the table is skipped: {name}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "reset"])
def test_errors_are_one_line(set_up, overlay, command):
    set_up()
    result = run(command, "serach")
    assert result.exit_code == 1
    assert result.stderr == (
        "no key 'serach' in KEYS or the table of keys (did you mean 'search'?)\n"
    )
    port = free_port()
    set_up(url=f"redis://:secret@127.0.0.1:{port}")
    result = run(command, "search")
    assert result.exit_code == 1
    assert result.stderr == f"LIMITS['url']: redis://127.0.0.1:{port} does not answer\n"
    set_up(url=None)
    assert run(command, "search").stderr.startswith("LIMITS['url'] is not set")
    overlay.path.write_text("LIMITS = {'timeout': 0}")
    assert run(command, "search").stderr.startswith("LIMITS['timeout']: must be")


@pytest.mark.parametrize("command", [["show"], ["reset", "search"], ["reconcile", "--apply"]])
def test_counters_in_the_memory_of_workers_cannot_be_reached(set_up, command):
    set_up(url=None)
    result = run(*command)
    assert result.exit_code == 1
    assert result.stderr == (
        "LIMITS['url'] is not set: each worker counts in its own memory until it restarts, where "
        "no command can reach. Set it to a Redis or Valkey\n"
    )
