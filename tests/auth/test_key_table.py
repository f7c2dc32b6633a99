"""Keys in the database: commands on them, polling by workers, the snapshot file."""

import hashlib
import logging
from dataclasses import replace

import pytest

from app.auth import database_keys as module
from app.auth.database_keys import DatabaseKeys
from app.auth.key_entry import KeyEntry
from app.auth.snapshots import KeySnapshot
from app.concurrency import yielding
from app.database.engine import Unavailable
from app.domain import Caller
from app.errors import KeysUnavailable, Unauthorized
from tests.support.server import eventually
from tests.usage.conftest import row


@pytest.fixture
def known(table):
    """The keys in a worker's memory; tests call `refresh`."""
    keys = DatabaseKeys(table)
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


def test_last_uses_are_those_of_the_ledger(table, store):
    times = [("a", 5_000), ("a", 9_999), ("b", 7_000), ("c", 1_000)]
    store.insert([row(n, key=key, time=at) for n, (key, at) in enumerate(times)])
    names = [*(f"unused-{n}" for n in range(250)), "a", "b", "a"]
    assert table.last_uses(names) == {"a": 9, "b": 7}
    assert table.last_uses([]) == {}
    assert (table.last_use("a"), table.last_use("unused-1")) == (9, None)


def test_callers_are_those_of_the_newest_active_keys(table, known, clock):
    table.new(KeyEntry("team", models=("a",)))
    clock.now += 5
    table.rotate("team", 100, expires=int(clock.now) + 500)
    table.edit("team", lambda entry: replace(entry, models=("a", "b")))
    table.new(KeyEntry("late", expires=int(clock.now) + 10))
    table.new(KeyEntry("gone"))
    table.revoke("gone")
    known.refresh()
    clock.now += 10
    assert known.callers() == {"team": Caller("team", models=frozenset("ab"))}


def test_only_changed_keys_are_checked_again(table, known, monkeypatch):
    made = [table.new(KeyEntry(f"team-{n}")) for n in range(3)]
    known.refresh()
    checked, check = [], module._known
    monkeypatch.setattr(module, "_known", lambda e: checked.append(e.name) or check(e))
    table.edit("team-1", lambda entry: replace(entry, models=("a",)))
    table.revoke("team-2")
    known.refresh()
    assert checked == ["team-1"]
    assert [known.identify(key)[0].models for key in made[:2]] == [None, frozenset("a")]
    with pytest.raises(Unauthorized):
        known.identify(made[2])


def test_requests_go_on_while_keys_are_read(table, tmp_path, monkeypatch):
    for n in range(5):
        table.new(KeyEntry(f"team-{n}"))
    yields = []
    monkeypatch.setattr(yielding, "WORK_S_PER_YIELD", 0.0)
    monkeypatch.setattr(yielding, "yield_control", lambda: yields.append(1))
    DatabaseKeys(table, snapshot=KeySnapshot(tmp_path / "keys.json")).refresh()
    assert len(yields) == 3 * 5  # each row is read, checked, and written to the file


def test_keys_are_unavailable_before_the_first_read(table):
    with pytest.raises(KeysUnavailable):
        DatabaseKeys(table).identify("sk-any")


def test_polling_continues_after_an_exception(table, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    keys = DatabaseKeys(table, poll_s=0.01)
    keys.start()
    version = table.version

    def bug():
        monkeypatch.setattr(table, "version", version)
        raise ZeroDivisionError

    monkeypatch.setattr(table, "version", bug)
    eventually(lambda: "access-keys failed" in caplog.text)
    key = table.new(KeyEntry("team"))
    eventually(lambda: keys._accepted)
    assert keys.identify(key)[0].name == "team"
    assert keys._task.stop(5)


def test_start_succeeds_after_an_exception(table, monkeypatch, caplog):
    monkeypatch.setattr(table, "version", lambda: 1 / 0)
    keys = DatabaseKeys(table)
    keys.start()
    keys.stop()
    assert "the table of keys cannot be read" in caplog.text
    with pytest.raises(KeysUnavailable):
        keys.identify("sk-any")


def test_remembered_key_is_recalled_until_it_is_revoked(table, clock):
    def seal(digest):
        return digest.hex()[::-1]

    keys = DatabaseKeys(table)
    old = table.new(KeyEntry("team", networks=("10.0.0.0/8",), expires=int(clock.now) + 1000))
    keys.refresh()
    remembered = keys.remember(old, seal)
    caller, bound_to = keys.recall(remembered, seal)
    assert (caller.name, [str(network) for network in bound_to]) == ("team", ["10.0.0.0/8"])
    table.rotate("team", grace=60)
    keys.refresh()
    assert keys.recall(remembered, seal)[0].name == "team"  # its last 60 seconds
    clock.now += 61
    with pytest.raises(Unauthorized):
        keys.recall(remembered, seal)
    with pytest.raises(Unauthorized):
        keys.recall({"claims": {}}, seal)


def test_remembered_keys_are_unavailable_before_the_first_read(table):
    with pytest.raises(KeysUnavailable):
        DatabaseKeys(table).recall({"name": "team", "seal": "x"}, str)
