"""Keys in the database: commands on them, polling by workers, the snapshot file."""

import hashlib
import logging
import os

import pytest
import sqlalchemy as sa

from app.auth import table_keys as module
from app.auth.key_entry import KeyEntry
from app.auth.key_table import KeyTable
from app.auth.snapshot import Snapshot
from app.auth.table_keys import TableKeys
from app.database.engine import Database, Unavailable
from app.database.migrations import migrate
from app.database.tables import keys as rows
from app.domain import Caller
from app.errors import KeysUnavailable, Unauthorized
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
    monkeypatch.setattr(module.time, "time", clock)
    return clock


@pytest.fixture
def table(database, clock):
    return KeyTable(database, clock)


@pytest.fixture
def known(table):
    """The keys in a worker's memory; tests call `refresh`."""
    keys = TableKeys(table)
    keys.refresh()
    return keys


def test_new_key_identifies_caller_with_rights(table, known):
    key = table.new(
        KeyEntry(
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
    queueing = {"share": 2, "fair_users": True, "service_tier": "flex", "service_tiers": []}
    bulk = table.new(KeyEntry("bulk", limits=tuple(queueing.items())))
    known.refresh()
    assert known.identify(bulk)[0] == Caller("bulk", **queueing | {"service_tiers": frozenset()})
    plain = table.new(KeyEntry("plain"))
    known.refresh()
    assert known.identify(plain)[0].models is None
    for wrong in ("", key[:-1], hashlib.sha256(key.encode()).hexdigest(), "\udcff"):
        with pytest.raises(Unauthorized):
            known.identify(wrong)


def test_plaintext_key_is_not_stored(table):
    key = table.new(KeyEntry("team"))
    _, (entry,) = table.read()
    assert key not in repr(entry)
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()


def test_a_revoked_key_is_refused(table, known, clock):
    key = table.new(KeyEntry("team"))
    assert table.revoke("team") == 1
    assert table.revoke("team") == 0
    known.refresh()
    with pytest.raises(Unauthorized):
        known.identify(key)
    assert [e.state(clock.now) for e in table.read()[1]] == ["revoked"]
    table.new(KeyEntry("team"))  # the name is free again


def test_expired_key_is_refused_without_a_query(table, known, clock):
    key = table.new(KeyEntry("team", expires=int(clock.now) + 10))
    known.refresh()
    known.identify(key)
    clock.now += 10
    with pytest.raises(Unauthorized):
        known.identify(key)
    assert [e.state(clock.now) for e in table.read()[1]] == ["expired"]
    table.new(KeyEntry("team"))


def test_active_name_cannot_be_used_again(table):
    table.new(KeyEntry("team"))
    with pytest.raises(ValueError, match="there is a key 'team'"):
        table.new(KeyEntry("team"))
    assert len(table.read()[1]) == 1


def test_rotated_key_is_valid_during_grace(table, known, clock):
    old = table.new(KeyEntry("team", models=("a",), limits=(("tokens_per_minute", 7),)))
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


def test_rotation_does_not_extend_expiry(table, clock):
    table.new(KeyEntry("team", expires=int(clock.now) + 50))
    table.rotate("team", 100)
    assert {e.expires for e in table.read()[1]} == {int(clock.now) + 50}
    with pytest.raises(ValueError, match="no active key 'unknown'"):
        table.rotate("unknown", 1)


def test_keys_are_read_only_if_the_version_changed(table, known, monkeypatch):
    before = table.version()
    table.new(KeyEntry("a"))
    table.rotate("a", 1)
    table.revoke("a")
    assert table.version() == before + 3
    known.refresh()
    monkeypatch.setattr(table, "read", None)
    known.refresh()


def test_keys_stay_valid_for_trust_s_without_database(table, known, monkeypatch, caplog):
    key = table.new(KeyEntry("team"))
    known.refresh()

    def away():
        raise Unavailable("connection refused")

    monkeypatch.setattr(table, "version", away)
    known.refresh()
    assert "does not answer: connection refused" in caplog.text
    known.identify(key)
    monkeypatch.setattr(module, "TRUST_S", -1)
    with pytest.raises(KeysUnavailable) as caught:
        known.identify(key)
    assert caught.value.status == 503
    with pytest.raises(Unauthorized):
        known.identify("a.good.token")  # it is no key of the table


def test_keys_are_unavailable_before_the_first_read(table):
    with pytest.raises(KeysUnavailable):
        TableKeys(table).identify("sk-any")


def test_polling_continues_after_an_exception(table, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    keys = TableKeys(table, poll_s=0.01)
    keys.start()
    version = table.version

    def bug():
        monkeypatch.setattr(table, "version", version)
        raise ZeroDivisionError

    monkeypatch.setattr(table, "version", bug)
    eventually(lambda: "access-keys failed" in caplog.text)
    key = table.new(KeyEntry("team"))
    eventually(lambda: keys._known)
    assert keys.identify(key)[0].name == "team"
    assert keys._task.stop(5)


ODD = [
    {"limits": {"requests_per_fortnight": 5}},  # of a later version
    {"limits": {"requests_per_minute": "many"}},
    {"limits": {"requests_per_minute": True}},
    {"limits": {"dollars_per_month": -1}},
    {"limits": {"dollars_per_month": True}},
    {"limits": {"dollars_per_month": "5"}},
    {"limits": {"warn_at": 7}},
    {"limits": {"tokens_per_day": None}},
    {"limits": {"tokens_per_day": 1.5}},
    {"limits": {"share": 0}},
    {"limits": {"share": True}},
    {"limits": {"fair_users": 1}},
    {"limits": {"service_tier": "auto"}},
    {"limits": {"service_tiers": "flex"}},
    {"limits": {"service_tiers": ["scale"]}},
    {"limits": 5},
    {"networks": ["10.0.0.1/8"]},
    {"networks": None},
    {"models": None},
    {"name": "a\nb"},
    {"name": ""},
    {"name": "oidc:alice"},
]


def put(table, key, **columns):
    """Insert a row as another program might, and increment the version."""
    entry = {"name": key, "models": ["*"], "admin": False, "limits": {}, "networks": []}
    values = {**entry, "created": 1, "sha256": hashlib.sha256(key.encode()).hexdigest(), **columns}
    table._change(lambda connection: connection.execute(sa.insert(rows).values(values)))


def test_invalid_rows_are_skipped_and_logged(table, known, caplog):
    good = table.new(KeyEntry("good"))
    for number, columns in enumerate(ODD):
        put(table, f"sk-odd-{number}", **columns)
    known.refresh()
    assert known.identify(good)[0].name == "good"
    for number in range(len(ODD)):
        with pytest.raises(Unauthorized):
            known.identify(f"sk-odd-{number}")
    assert caplog.text.count("in the table is skipped") == len(ODD)
    assert "the key 'sk-odd-0' in the table is skipped" in caplog.text
    assert "good" in [entry.name for entry in table.read()[1]]


@pytest.mark.parametrize("amount", ["1e999", "-1e999", "NaN"])
def test_row_with_an_infinite_limit_is_skipped(tmp_path, caplog, amount):
    """JSON has no such numbers, but SQLite stores any text, and Python's parser reads them."""
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    put(table, "sk-odd")
    text = f"""UPDATE access_keys SET limits = '{{"dollars_per_month": {amount}}}'"""
    table._change(lambda connection: connection.execute(sa.text(text)))
    keys = TableKeys(table)
    keys.refresh()
    with pytest.raises(Unauthorized):
        keys.identify("sk-odd")
    assert "the key 'sk-odd' in the table is skipped" in caplog.text
    assert "dollars_per_month" in caplog.text
    database.close()


def test_row_with_invalid_json_is_skipped(tmp_path, caplog):
    """SQLite stores any text in a JSON column."""
    database = Database(f"sqlite:///{tmp_path}/keys.db")
    migrate(database.engine)
    table = KeyTable(database)
    good = table.new(KeyEntry("good"))
    put(table, "sk-odd")
    put(table, "sk-digest", sha256="no digest")
    text = "UPDATE access_keys SET limits = 'oops' WHERE name = 'sk-odd'"
    table._change(lambda connection: connection.execute(sa.text(text)))
    keys = TableKeys(table)
    keys.start()
    assert keys._task.stop(5)
    assert keys.identify(good)[0].name == "good"
    assert caplog.text.count("in the table is skipped") == 2
    database.close()


def test_start_succeeds_after_an_exception(table, monkeypatch, caplog):
    monkeypatch.setattr(table, "version", lambda: 1 / 0)
    keys = TableKeys(table)
    keys.start()
    keys.stop()
    assert "the table of keys cannot be read" in caplog.text
    with pytest.raises(KeysUnavailable):
        keys.identify("sk-any")


@pytest.fixture
def snapshot(tmp_path):
    return Snapshot(tmp_path / "spool" / "keys.json")


@pytest.fixture
def start(table, snapshot, monkeypatch):
    """Starts a worker's keys, by default while the database is unavailable."""
    started = []

    def start(away=True):
        def unavailable():
            raise Unavailable("refused")

        with monkeypatch.context() as patch:
            if away:
                patch.setattr(table, "version", unavailable)
            keys = TableKeys(table, poll_s=3600, snapshot=snapshot)
            keys.start()
        started.append(keys)
        return keys

    yield start
    for keys in started:
        keys.stop()


def test_snapshot_is_used_if_database_is_unavailable(table, start, snapshot, clock):
    limits = (("requests_per_minute", 5), ("dollars_per_month", 2.5))
    key = table.new(
        KeyEntry("team", models=("a",), limits=limits, networks=("::1/128",), expires=2_000_000)
    )
    revoked = table.new(KeyEntry("revoked"))
    table.revoke("revoked")
    before = start(away=False).identify(key)
    text = snapshot._path.read_text()
    assert key not in text
    assert hashlib.sha256(revoked.encode()).hexdigest() not in text
    assert os.stat(snapshot._path).st_mode & 0o777 == 0o600
    assert os.listdir(snapshot._path.parent) == ["keys.json"]
    after = start()
    assert after.identify(key) == before
    with pytest.raises(Unauthorized):
        after.identify(revoked)
    clock.now = 2_000_000
    with pytest.raises(Unauthorized):
        after.identify(key)  # expired


def test_snapshot_expires_trust_s_after_confirmation(table, start, clock, monkeypatch):
    key = table.new(KeyEntry("team"))
    start(away=False)
    clock.now += 3000
    keys = start()
    keys.identify(key)
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 601)
    with pytest.raises(KeysUnavailable):
        keys.identify(key)
    monkeypatch.undo()
    monkeypatch.setattr(module.time, "time", clock)
    for elsewhere in (601, -10_000):
        clock.now += elsewhere
        with pytest.raises(KeysUnavailable):
            start().identify(key)


def test_database_replaces_keys_of_the_snapshot(table, start):
    key = table.new(KeyEntry("team"))
    start(away=False)
    keys = start()
    table.revoke("team")
    keys.identify(key)
    keys.refresh()
    with pytest.raises(Unauthorized):
        keys.identify(key)


def test_snapshot_is_rewritten_each_minute(table, start, snapshot, clock, monkeypatch):
    table.new(KeyEntry("team"))
    keys = start(away=False)
    clock.now += 100
    keys.refresh()
    assert snapshot.read()[0] == clock.now - 100
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 61)
    keys.refresh()
    assert snapshot.read()[0] == clock.now


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "confirmed": "x", "keys": []}',
             '{"format": 1, "confirmed": 1000000.0, "keys": [5, {"name": "x"}]}']
)  # fmt: skip
def test_invalid_snapshot_is_not_used(start, snapshot, clock, text):
    snapshot._path.parent.mkdir()
    snapshot._path.write_text(text)
    snapshot._path.chmod(0o600)
    with pytest.raises((KeysUnavailable, Unauthorized)):
        start().identify("sk-any")


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o666])
def test_snapshot_accessible_to_others_is_not_used(table, start, snapshot, clock, mode):
    key = table.new(KeyEntry("team"))
    start(away=False)
    snapshot._path.chmod(mode)
    with pytest.raises(KeysUnavailable):
        start().identify(key)


def test_snapshot_symlink_is_not_followed(table, start, snapshot, clock):
    key = table.new(KeyEntry("team"))
    start(away=False)
    other = snapshot._path.with_suffix(".other")
    snapshot._path.rename(other)
    snapshot._path.symlink_to(other)
    with pytest.raises(KeysUnavailable):
        start().identify(key)


def test_failed_snapshot_write_does_not_affect_keys(table, start, snapshot, caplog):
    key = table.new(KeyEntry("team"))
    snapshot._path.parent.write_text("a file where the directory should be")
    assert start(away=False).identify(key)[0].name == "team"
    assert "cannot be kept in a file" in caplog.text
