"""Keys in the database: what may be done with them, and that what is done reaches every worker."""

import hashlib
import logging

import pytest

from app.access import table as tables
from app.access.refusals import KeysUnavailable
from app.access.table import Entry, KeyTable, TableKeys
from app.errors import Unauthorized
from app.usage.database import Database, Unavailable
from app.usage.migrations import migrate
from tests.support.postgres import Postgres
from tests.support.server import eventually


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    url = f"sqlite:///{tmp_path}/keys.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").url()
    opened = Database(url)
    migrate(opened.engine)
    yield opened
    opened.close()


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tables.time, "time", clock)
    return clock


@pytest.fixture
def table(database, clock):
    return KeyTable(database, clock)


@pytest.fixture
def known(table):
    """The keys as a worker knows them; `refresh` by hand."""
    keys = TableKeys(table)
    keys.refresh()
    return keys


def test_a_new_key_names_its_owner_and_what_it_may_do(table, known):
    key = table.new(
        Entry(
            "team",
            models=("a", "b"),
            admin=True,
            limits=(("requests_per_minute", 5), ("dollars_per_month", 2.5)),
            networks=("10.0.0.0/8", "::1/128"),
        )
    )
    with pytest.raises(Unauthorized):
        known.identify(key)
    known.refresh()
    caller, networks = known.identify(key)
    assert (caller.name, caller.models, caller.admin) == ("team", frozenset("ab"), True)
    assert (caller.requests_per_minute, caller.dollars_per_month) == (5, 2.5)
    assert [str(network) for network in networks] == ["10.0.0.0/8", "::1/128"]
    plain = table.new(Entry("plain"))
    known.refresh()
    assert known.identify(plain)[0].models is None
    for wrong in ("", key[:-1], hashlib.sha256(key.encode()).hexdigest(), "\udcff"):
        with pytest.raises(Unauthorized):
            known.identify(wrong)


def test_the_key_itself_is_nowhere(table):
    key = table.new(Entry("team"))
    _, (entry,) = table.read()
    assert key not in repr(entry)
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()


def test_a_revoked_key_is_refused(table, known, clock):
    key = table.new(Entry("team"))
    assert table.revoke("team") == 1
    assert table.revoke("team") == 0
    known.refresh()
    with pytest.raises(Unauthorized):
        known.identify(key)
    assert [e.state(clock.now) for e in table.read()[1]] == ["revoked"]
    table.new(Entry("team"))  # the name is free again


def test_an_expired_key_is_refused_without_any_news(table, known, clock):
    key = table.new(Entry("team", expires=int(clock.now) + 10))
    known.refresh()
    known.identify(key)
    clock.now += 10
    with pytest.raises(Unauthorized):
        known.identify(key)
    assert [e.state(clock.now) for e in table.read()[1]] == ["expired"]
    table.new(Entry("team"))


def test_a_name_is_taken_once(table):
    table.new(Entry("team"))
    with pytest.raises(ValueError, match="there is a key 'team'"):
        table.new(Entry("team"))
    assert len(table.read()[1]) == 1


def test_a_rotated_key_goes_on_for_a_grace(table, known, clock):
    old = table.new(Entry("team", models=("a",), limits=(("tokens_per_minute", 7),)))
    new = table.rotate("team", 100)
    known.refresh()
    assert known.identify(old)[0] == known.identify(new)[0]
    assert known.identify(new)[0].tokens_per_minute == 7
    clock.now += 101
    with pytest.raises(Unauthorized):
        known.identify(old)
    known.identify(new)
    newest = table.rotate("team", 0)
    known.refresh()
    with pytest.raises(Unauthorized):
        known.identify(new)
    known.identify(newest)


def test_a_rotation_prolongs_nothing(table, clock):
    table.new(Entry("team", expires=int(clock.now) + 50))
    table.rotate("team", 100)
    assert {e.expires for e in table.read()[1]} == {int(clock.now) + 50}
    with pytest.raises(ValueError, match="no active key 'nobody'"):
        table.rotate("nobody", 1)


def test_each_change_counts_the_version_up_and_no_change_asks_for_keys(table, known, monkeypatch):
    before = table.version()
    table.new(Entry("a"))
    table.rotate("a", 1)
    table.revoke("a")
    assert table.version() == before + 3
    known.refresh()
    monkeypatch.setattr(table, "read", None)
    known.refresh()


def test_while_the_database_is_away_known_keys_go_on_and_then_nobody_knows(
    table, known, monkeypatch, caplog
):
    key = table.new(Entry("team"))
    known.refresh()

    def away():
        raise Unavailable("connection refused")

    monkeypatch.setattr(table, "version", away)
    known.refresh()
    assert "does not answer: connection refused" in caplog.text
    known.identify(key)
    monkeypatch.setattr(tables, "_TRUST", -1)
    with pytest.raises(KeysUnavailable) as caught:
        known.identify(key)
    assert caught.value.status == 503


def test_before_the_first_answer_nobody_knows(table):
    with pytest.raises(KeysUnavailable):
        TableKeys(table).identify("sk-any")


def test_started_it_asks_again_and_again_whatever_happens(table, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    keys = TableKeys(table, poll=0.01)
    keys.start()
    version = table.version

    def bug():
        monkeypatch.setattr(table, "version", version)
        raise ZeroDivisionError

    monkeypatch.setattr(table, "version", bug)
    eventually(lambda: "met a bug" in caplog.text)
    key = table.new(Entry("team"))
    eventually(lambda: keys._known)
    assert keys.identify(key)[0].name == "team"
    keys.stop()
    keys._thread.join(5)
