"""The file with the keys, for workers that start while the database is unavailable."""

import hashlib
import os

import pytest

from app.auth import database_keys as module
from app.auth.database_keys import DatabaseKeys
from app.auth.key_entry import KeyEntry
from app.auth.snapshots import KeySnapshot
from app.database.engine import Unavailable
from app.errors import KeysUnavailable, Unauthorized


@pytest.fixture
def snapshot(tmp_path):
    return KeySnapshot(tmp_path / "spool" / "keys.json")


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
            keys = DatabaseKeys(table, poll_s=3600, snapshot=snapshot)
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
