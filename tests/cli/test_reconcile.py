"""``flask limits reconcile``: counters in a real Valkey against a real ledger."""

import json
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from app.cli import reconcile
from app.cli.limits import limits
from app.config import load
from app.database.engine import Database
from app.database.migrations import migrate
from app.domain import Caller, EmbeddingRequest
from app.limits.counters import redis as shared_windows
from app.limits.limiter import make_limiter
from app.limits.periods import Calendar
from app.usage.reports.budgets import amount_in_ledger
from app.usage.store.store import Store
from tests.limits.new_limits import NewCaller, declare
from tests.overlays import environment, overlay
from tests.redis.patience import PATIENT_S, patient_steps
from tests.usage.conftest import row

__all__ = ["environment", "overlay", "patient_steps"]  # fixtures
KEYS = {
    "search": {"sha256": "1" * 64, "tokens_per_month": 1000, "dollars_per_month": 5.0},
    "free": {"sha256": "2" * 64, "requests_per_minute": 5},
}


@pytest.fixture
def ledger(overlay, valkey, redis, tmp_path):
    """Settings with counters in the server and a ledger with 30 tokens, 6 of them cached."""

    def ledger(keys=KEYS, **limits):
        url = f"sqlite:///{tmp_path}/usage.db"
        server = {"url": valkey.url, "timeout": PATIENT_S}  # a busy machine counts, too
        names = {"KEYS": keys, "LIMITS": server | limits, "USAGE": {"url": url}}
        overlay("".join(f"{name} = {value!r}\n" for name, value in names.items()))
        database = Database(url)
        migrate(database.engine)
        now = int(time.time() * 1000)
        store = Store(database)
        store.insert([row(n, key="search", time=now, cost=10**9) for n in range(3)])
        store.insert([row(9, key="search", time=now - 40 * 86_400_000), row(10, key="other")])
        database.close()

    return ledger


def run(*arguments):
    return CliRunner().invoke(limits, ["reconcile", *arguments])


def rows(*arguments):
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    return {r["limit"]: (r["counted"], r["ledger"], r["set"]) for r in json.loads(result.stdout)}


def test_counters_are_compared_and_set_to_amounts_of_the_ledger(ledger):
    ledger()
    before = {"tokens_per_month": (0, 30, "no"), "dollars_per_month": (0, 3.0, "no")}
    assert rows() == before
    assert rows() == before  # nothing was changed
    assert rows("--apply")["tokens_per_month"] == (0, 30, "yes")
    after = {"tokens_per_month": (30, 30, "no"), "dollars_per_month": (3.0, 3.0, "no")}
    assert rows("search") == after
    assert "dollars_per_month" in run().stdout
    assert run("free").stdout == "No limits of days and months.\n"


def test_reconcile_keeps_amounts_of_requests_in_flight(ledger):
    ledger()
    limiter = make_limiter(load())
    caller = Caller("search", tokens_per_month=1000, dollars_per_month=5.0)
    grant = limiter.admit(caller, EmbeddingRequest("m", [[5] * 100]))
    assert rows("--apply")["tokens_per_month"] == (0, 30, "yes")
    shown = json.loads(CliRunner().invoke(limits, ["show", "search", "--json"]).stdout)
    assert {r["limit"]: r["used"] for r in shown}["tokens_per_month"] == 130
    limiter.settle(grant, None, {})
    limiter.close()


def test_limits_of_requests_and_of_end_users_are_not_set_from_the_ledger(ledger, monkeypatch):
    """The ledger also has rows of refused requests, and a counter of an end user has no name."""
    ledger()
    declare(monkeypatch)
    caller = NewCaller("search", tokens_per_day=9, requests_per_month=9, user_tokens_per_day=9)
    monkeypatch.setattr("app.cli.limits._callers", lambda settings: {"search": caller})
    assert [*rows("--apply")] == ["tokens_per_day"]


def test_a_unit_that_the_ledger_lacks_is_an_error():
    with pytest.raises(ValueError, match="no amount that a limit of requests counts"):
        amount_in_ledger("requests", {"prompt_tokens": 1}, True)


def test_cached_tokens_count_by_the_setting(ledger):
    ledger(count_cached_tokens=False)
    assert rows()["tokens_per_month"] == (0, 24, "no")


def test_reconcile_without_ledger_is_an_error(overlay, valkey):
    overlay(f"KEYS = {KEYS!r}\nLIMITS = {{'url': {valkey.url!r}}}\n")
    result = run()
    assert (result.exit_code, result.stderr[:6]) == (1, "USAGE:")


def test_reconcile_over_midnight_changes_only_the_day_that_it_read(ledger, redis, monkeypatch):
    day = Calendar("day").span(time.time() + 86_400)  # ahead: the server expires by its own clock
    keys = {f"k{n}": {"sha256": str(n) * 64, "tokens_per_day": 1000} for n in (1, 2, 3)}
    ledger(keys=keys)
    database = Database(load().usage.url)
    used_at = {"k1": day.end - 5, "k2": day.end - 5, "k3": day.end + 0.5}
    Store(database).insert(
        [row(20 + n, key=key, time=int(used_at[key] * 1000)) for n, key in enumerate(used_at)]
    )
    database.close()
    clock = iter(range(10_000))
    ticking = SimpleNamespace(time=lambda: day.end - 0.5 + next(clock))  # a second in each call
    monkeypatch.setattr(reconcile, "time", ticking)
    monkeypatch.setattr(shared_windows, "time", ticking)
    result = run("--json", "--apply")
    assert [(r["key"], r["ledger"]) for r in json.loads(result.stdout)] == [
        ("k1", 10),
        ("k2", 10),
        ("k3", 0),  # used after midnight
    ]
    counts = {key: redis.hgetall(key) for key in redis.keys("*")}
    assert len(counts) == 3
    assert {int(number) for fields in counts.values() for number in fields} == {day.number}
