"""The ledger in an app: rows of requests, and reports for keys."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.database.engine import Database
from app.database.migrations import migrate
from app.usage.store.store import ReportQuery, Store
from tests.api.fake import AUTH, FakeProvider, app_with, ask, error_of, settings
from tests.support.server import eventually
from tests.support.settings import KEY, KEYS, NARROW_KEY
from tests.usage.conftest import row

NARROW = {"Authorization": f"Bearer {NARROW_KEY}"}


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts an app with a ledger in a new SQLite file, or with this url."""
    clients = []
    # Tests repeat the report until it has the expected rows.
    monkeypatch.setattr("app.usage.reports.reporter.MAX_REPORTS_PER_MINUTE", 10_000)

    def of(url=f"sqlite:///{tmp_path}/app.db", tables=True, **options):
        keys = KEYS | {"tests": KEYS["tests"] | {"admin": True}}
        others = {name: options.pop(name) for name in list(options) if name.isupper()}
        if tables:
            database = Database(url)
            migrate(database.engine)
            database.close()
        usage = {"url": url, "spool": str(tmp_path / "spool"), **options}
        client = app_with(monkeypatch, FakeProvider(), KEYS=keys, USAGE=usage, **others)
        clients.append(client)
        return client

    yield of
    for client in clients:
        client.application.extensions["services"].close()


def usage(client, headers=AUTH, **arguments):
    return client.get("/v1/usage", headers=headers, query_string=arguments)


def groups(client, number):
    """Wait for a number of groups; return usage by key and user."""

    def found():
        data = usage(client, by="key,user").json["data"]
        return data if len(data) == number else None

    return eventually(found)


def test_usage_lists_requests(start, url):
    client = start(url)
    ask(client, input=["a b", "c"], user="u-1")
    ask(client, user="u-1", model="none")
    ask(client, headers={})
    ask(client, model="steady", headers=NARROW)
    rows = groups(client, 2)  # a request without a valid key leaves no row
    assert [(r["key"], r["user"], r["requests"]) for r in rows] == [
        ("tests", "u-1", 2),
        ("narrow", "", 1),
    ]
    first = rows[0]
    assert (first["prompt_tokens"], first["items"], first["invalid"]) == (3, 3, 1)
    page = client.get("/metrics").text
    for key, result in [("tests", "ok"), ("tests", "invalid"), ("", "refused"), ("narrow", "ok")]:
        assert f'key_requests_total{{key="{key}",result="{result}"}} 1.0' in page
    (own,) = usage(client, NARROW).json["data"]
    assert (own["model"], own["requests"], "key" in own) == ("steady", 1, False)
    (own,) = usage(client, NARROW, by="key").json["data"]
    assert own["key"] == "narrow"


def test_usage_by_service_tier(start, url):
    client = start(url)
    for fields in ({"service_tier": "flex"}, {"service_tier": "flex"}, {}):
        assert ask(client, **fields, user="u-1").status_code == 200
    assert ask(client, service_tier="priority", user="u-1").status_code == 403
    assert ask(client, service_tier="scale").status_code == 400  # of no tier: it cannot be read

    def found(by):
        rows = usage(client, by=by).json["data"]
        return {row["service_tier"]: (row["requests"], row["refused"]) for row in rows}

    expected = {"flex": (2, 0), "default": (1, 0), "priority": (1, 1), "": (1, 0)}
    eventually(lambda: found("service_tier") == expected)
    assert found("service_tier,user") == expected  # of the rows: no rollup has both


def test_usage_by_period_and_dimensions(start, tmp_path):
    client = start(unusual={"requests_per_hour": 1})
    store = client.application.extensions["services"].store
    now = int(time.time() * 1000)
    store.insert([row(1, time=now), row(2, time=now), row(3, time=now - 20 * 86_400_000)])
    assert usage(client, since="30d").json["data"][0]["requests"] == 3
    found = usage(client, by="day").json
    assert found["object"] == "list"
    assert found["since"] < found["until"]
    assert (found["data"][0]["requests"], found["data"][0]["unusual_hours"]) == (2, 1)
    assert usage(client, since="30d", until="10d").json["data"][0]["requests"] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", "soon"),
        ("until", "never"),
        ("by", "secret"),
        ("since", "999999w"),
        ("timezone", "Mars/Base"),
        ("timezone", "../etc/passwd"),
        ("timezone", "Europe"),
    ],
)
def test_invalid_usage_parameter_is_a_400(start, name, value):
    error = error_of(usage(start(), **{name: value}))
    assert (error.status, error.param) == (400, name)


def test_days_follow_the_time_zone(start):
    client = start()
    store = client.application.extensions["services"].store
    late = int(datetime(2026, 3, 1, 23, 30, tzinfo=UTC).timestamp() * 1000)
    store.insert([row(1, time=late), row(2, time=late - 3_600_000)])
    asked = {"by": "day", "since": "2026-03-01", "until": "2026-03-03"}
    assert [r["day"] for r in usage(client, **asked).json["data"]] == ["2026-03-01"]
    found = usage(client, timezone="Europe/Berlin", **asked).json
    assert {r["day"]: r["requests"] for r in found["data"]} == {"2026-03-01": 1, "2026-03-02": 1}
    assert found["since"] == "2026-03-01T00:00:00+01:00"
    found = usage(client, timezone="Asia/Kolkata", **asked).json["data"]
    assert {r["day"]: r["requests"] for r in found} == {"2026-03-02": 2}


def test_too_many_reports_of_a_key_are_429(start, monkeypatch):
    client = start()
    monkeypatch.setattr("app.usage.reports.reporter.MAX_REPORTS_PER_MINUTE", 2)
    assert [usage(client).status_code for _ in range(3)] == [200, 200, 429]
    answer = usage(client)
    assert error_of(answer).code == "rate_limit_exceeded"
    assert 1 <= int(answer.headers["Retry-After"]) <= 120


def test_usage_needs_a_key(start):
    assert error_of(usage(start(), {})).status == 401


def test_dead_database_makes_only_usage_a_503(start):
    client = start(tables=False)
    assert ask(client).status_code == 200
    error = error_of(usage(client))
    assert (error.status, error.code) == (503, "usage_unavailable")
    assert "usage_requests" not in error.message
    database = client.application.extensions["services"].store._database
    migrate(database.engine)
    eventually(lambda: usage(client).json["data"])


def test_usage_is_a_404_without_ledger(monkeypatch):
    client = app_with(monkeypatch, FakeProvider())
    error = error_of(usage(client))
    assert (error.status, error.code) == (404, "not_found")


def test_old_rows_are_purged(start, tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    database = Database(url)
    migrate(database.engine)
    now = int(time.time() * 1000)
    store = Store(database)
    store.insert([row(n, time=now - n * 86_400_000) for n in (0, 1, 2, 3, 4)])
    start(url, retention_days=1, unusual={"tokens_per_hour": 5})
    eventually(
        lambda: sum(r["requests"] for r in store.report(ReportQuery([], 0, now + 10**6))) == 4
    )
    database.close()


def test_blocked_key_gets_a_403_and_is_in_the_ledger(start):
    client = start(BLOCKED_USERS=["u-bad"], BLOCKED_KEYS=["narrow"])
    error = error_of(ask(client, user="u-bad"))
    assert (error.status, error.code) == (403, "user_blocked")
    error = error_of(ask(client, model="steady", headers=NARROW))
    assert (error.status, error.code) == (403, "key_blocked")
    assert error_of(client.get("/v1/models", headers=NARROW)).code == "key_blocked"
    assert ask(client, user="u-good").status_code == 200
    rows = eventually(
        lambda: (d := usage(client, by="key,user").json["data"]) and len(d) == 3 and d
    )
    refused = {(r["key"], r["user"]): r["refused"] for r in rows}
    assert refused == {("tests", "u-bad"): 1, ("tests", "u-good"): 0, ("narrow", ""): 1}
    page = client.get("/metrics").text
    for key, result in [("tests", "ok"), ("tests", "refused"), ("narrow", "refused")]:
        assert f'key_requests_total{{key="{key}",result="{result}"}} 1.0' in page


def test_keys_of_the_table_are_accepted(start, tmp_path):
    from app.auth.key_entry import KeyEntry
    from app.auth.key_table import KeyTable

    url = f"sqlite:///{tmp_path}/keys.db"
    database = Database(url)
    migrate(database.engine)
    key = KeyTable(database).new(KeyEntry("of-the-table", models=("steady",)))
    database.close()
    client = start(url, keys=True)
    headers = {"Authorization": f"Bearer {key}"}
    assert ask(client, model="steady", headers=headers).status_code == 200
    assert error_of(ask(client, headers=headers)).code == "model_not_allowed"
    assert error_of(ask(client, headers={"Authorization": "Bearer sk-no"})).status == 401


LIGHT = """
import sys
from app.factory import create_app
from tests.api.fake import settings
create_app(settings())
print([name for name in ("sqlalchemy", "alembic", "psycopg", "jwt") if name in sys.modules])
"""


def test_packages_of_unconfigured_services_are_not_imported():
    command = [sys.executable, "-c", LIGHT]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_oidc_token_is_accepted(monkeypatch):
    oidc = {"issuer": "https://id", "audience": "a", "jwks_url": "http://127.0.0.1:1/jwks"}
    client = app_with(monkeypatch, FakeProvider(), OIDC=oidc)
    assert ask(client, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert error_of(ask(client, headers={"Authorization": "Bearer sk-no"})).status == 401
    client.application.extensions["services"].close()
    assert settings()["KEYS"] == KEYS
