"""Settings in the audit log: a row for each change, without secrets."""

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from app.config import ProviderSettings, check
from app.database import audit
from app.database.engine import Database, Unavailable
from app.database.tables import audit_log
from app.factory import create_app
from app.usage.audit_digests import digests_of
from app.usage.audit_settings import SettingsAudit
from tests.api.fake import settings
from tests.support.server import eventually


@pytest.fixture
def database(database):
    """A database of either kind without the entries that migrations have written."""
    database.run(lambda connection: connection.execute(sa.delete(audit_log)))
    return database


def rows(database):
    found = database.run(lambda connection: audit.events(connection, 0, 2**62))
    names = sorted(digests_of(check(settings())))
    changed = [row["detail"].get("changed") or row["subject"] for row in found]
    changed = ["all" if names == entry else entry for entry in changed]
    return [(row["action"], entry) for row, entry in zip(found, changed, strict=True)]


def test_a_change_is_one_row_for_all_workers(database):
    before, after = check(settings()), check(settings(LIMITS={"inputs": 7}, BLOCKED_KEYS=["tests"]))
    for used in (before, after):
        workers = [
            threading.Thread(target=SettingsAudit(database, used, lambda: 5.0)) for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
    SettingsAudit(database, before)()
    assert rows(database) == [
        ("settings.change", "all"),
        ("settings.change", ["BLOCKED_KEYS", "LIMITS"]),
        ("key.block", "tests"),
        ("settings.change", ["BLOCKED_KEYS", "LIMITS"]),
        ("key.unblock", "tests"),
    ]


def test_settings_are_recorded_when_the_database_is_back(database, monkeypatch):
    recorder = SettingsAudit(database, check(settings()))
    with monkeypatch.context() as patch:
        patch.setattr(audit, "latest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recorder()
    recorder()
    recorder()
    assert len(rows(database)) == 1


def test_a_worker_that_is_being_replaced_records_nothing(database):
    now = [5.0]
    old = SettingsAudit(database, check(settings()), lambda: now[0])
    now[0] = 6.0
    SettingsAudit(database, check(settings(LIMITS={"inputs": 7})), lambda: now[0])()
    old()
    assert len(rows(database)) == 1


def test_without_tables_the_database_is_unavailable(tmp_path):
    empty = Database(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(Unavailable):
        SettingsAudit(empty, check(settings()))()
    empty.close()


@given(st.text(min_size=1), st.text(min_size=1))
def test_secrets_do_not_change_the_digest(secret, header):
    used = check(settings())
    plain = ProviderSettings("p", "openai", "https://host/v1")
    hidden = replace(
        plain,
        api_key=secret,
        headers={"authorization": header},
        options={"access_key": secret},
        base_url="https://user:password@host/v1?token=5",
    )
    assert digests_of(replace(used, providers={"p": plain})) == digests_of(
        replace(used, providers={"p": hidden})
    )


def test_an_address_changes_the_digest():
    before = digests_of(check(settings(LIMITS={"url": "redis://:a@host/0"})))
    same = digests_of(check(settings(LIMITS={"url": "redis://:b@host/0"})))
    other = digests_of(check(settings(LIMITS={"url": "redis://:a@host/1"})))
    assert before == same
    assert {name for name in before if before[name] != other[name]} == {"LIMITS"}


def test_an_app_with_a_ledger_records_its_settings(database):
    url = database.engine.url.render_as_string(hide_password=False)
    app = create_app(settings(USAGE={"url": url}))
    eventually(lambda: rows(database) == [("settings.change", "all")])
    app.extensions["services"].close()


def test_an_app_without_a_ledger_logs_its_settings(capsys):
    app = create_app(settings())
    app.extensions["services"].close()
    assert "settings in use: " in capsys.readouterr().out
