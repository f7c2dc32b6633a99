"""Blocks in memory, in the table, and in the file for workers that start without the database."""

import threading

import pytest
import sqlalchemy as sa

from app.auth import block_refresh
from app.auth.block_refresh import BlocklistRefresh
from app.auth.block_table import BlockTable
from app.auth.blocklist import Block, Blocklist
from app.database.engine import Unavailable
from app.database.tables import audit_log


@pytest.fixture
def blocks(database, clock):
    return BlockTable(database, clock, actor="key:root (10.0.0.1)")


@pytest.fixture
def blocklist(clock):
    return Blocklist(["leaked"], ["mallory"], clock)


@pytest.fixture
def make_refresh(blocks, tmp_path):
    """Makes the refresh of a blocklist; tests call `refresh`, or `start` and `stop`."""
    return lambda blocklist: BlocklistRefresh(
        blocks, blocklist, tmp_path / "spool" / "blocks.json", poll_s=3600
    )


def away(*_):
    raise Unavailable("refused")


def test_blocks_of_settings_stay_whatever_the_database_says(blocklist):
    blocklist.replace([])
    assert blocklist.blocks_key("leaked")
    assert blocklist.blocks_user("mallory")
    assert not blocklist.blocks_key("mallory")
    assert not blocklist.blocks_user("leaked")
    blocklist.replace([Block("key", "leaked", until=1)])  # long over
    assert blocklist.blocks_key("leaked")
    assert blocklist.is_in_settings("key", "leaked")
    assert not blocklist.is_in_settings("user", "leaked")


def test_block_ends_at_its_time_without_a_query(blocklist, clock):
    blocklist.replace([Block("user", "u", until=int(clock.now) + 10), Block("key", "k")])
    assert blocklist.blocks_user("u")
    clock.now += 10
    assert not blocklist.blocks_user("u")
    assert blocklist.blocks_key("k")


def test_blocks_that_have_ended_do_not_add_up(blocks, clock):
    for n in range(5):
        blocks.block("user", f"u{n}", until=int(clock.now) + 10)
        clock.now += 10
    blocks.block("key", "k")
    assert [block.name for block in blocks.read()[1]] == ["k"]


def test_row_that_cannot_be_read_blocks_and_disables_no_other(blocklist):
    blocklist.replace([Block("team", "x"), Block("key", "k", until="soon"), Block("user", "u")])
    assert blocklist.blocks_key("k")
    assert blocklist.blocks_user("u")


def test_block_and_unblock_are_taken_over_and_in_the_audit_log(
    blocks, blocklist, make_refresh, database, clock
):
    refresh = make_refresh(blocklist)
    refresh.refresh()
    until = int(clock.now) + 60
    blocks.block("user", "ürsel\n", until, " too many requests ")
    blocks.block("key", "team")
    assert not blocklist.blocks_key("team")
    refresh.refresh()
    assert blocklist.blocks_key("team")
    assert blocklist.blocks_user("ürsel\n")
    assert not blocklist.blocks_user("ürsel")
    found = blocks.read()[1]
    created, actor = int(clock.now), "key:root (10.0.0.1)"
    assert found == [
        Block("key", "team", None, "", created, actor),
        Block("user", "ürsel\n", until, "too many requests", created, actor),
    ]
    blocks.block("key", "team", until)  # replaces it
    assert blocks.unblock("key", "team") == Block("key", "team", until, "", created, actor)
    assert blocks.unblock("key", "team") is None
    refresh.refresh()
    assert not blocklist.blocks_key("team")
    rows = database.run(lambda c: c.execute(sa.select(audit_log).order_by("id")).all())
    assert [(row.actor, row.action, row.subject) for row in rows] == [
        (actor, "user.block", "ürsel\n"),
        (actor, "key.block", "team"),
        (actor, "key.block", "team"),
        (actor, "key.unblock", "team"),
    ]
    assert rows[0].detail == {"until": until, "reason": "too many requests"}


@pytest.mark.parametrize(
    ("kind", "name", "more", "message"),
    [
        ("team", "x", {}, "cannot be blocked: key, user"),
        ("user", "", {}, "1 to 256 characters"),
        ("user", "x" * 257, {}, "1 to 256 characters"),
        ("user", "a\0b", {}, "1 to 256 characters"),
        ("user", "x", {"until": 5}, "would end before it begins"),
        ("user", "x", {"reason": "r" * 501}, "500 characters"),
    ],
)
def test_invalid_block_is_refused(blocks, kind, name, more, message):
    with pytest.raises(ValueError, match=message):
        blocks.block(kind, name, **more)
    assert blocks.read()[1] == []


def test_blocks_are_read_only_if_the_version_changed(blocks, blocklist, make_refresh, monkeypatch):
    blocks.block("key", "team")
    refresh = make_refresh(blocklist)
    refresh.refresh()
    monkeypatch.setattr(blocks, "read", None)
    refresh.refresh()
    assert blocklist.blocks_key("team")


def test_blocks_stay_in_force_while_the_database_is_away(
    blocks, blocklist, make_refresh, monkeypatch, caplog
):
    blocks.block("key", "team")
    refresh = make_refresh(blocklist)
    refresh.refresh()
    monkeypatch.setattr(blocks, "version", away)
    for _ in range(3):
        refresh.refresh()
    assert blocklist.blocks_key("team")
    assert caplog.text.count("the table of blocks does not answer: refused") == 1


def test_worker_that_starts_without_the_database_uses_the_file(
    blocks, blocklist, make_refresh, monkeypatch, clock
):
    blocks.block("user", "u", int(clock.now) + 60, "spam")
    make_refresh(blocklist).refresh()
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "version", away)
        late = Blocklist(clock=clock)
        refresh = make_refresh(late)
        refresh.start()
        refresh.stop()
    assert late.blocks_user("u")
    blocks.unblock("user", "u")
    refresh.refresh()
    assert not late.blocks_user("u")
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "version", away)
        later = Blocklist(clock=clock)
        refresh = make_refresh(later)
        refresh.start()
        refresh.stop()
    assert not later.blocks_user("u")


def test_no_file_is_made_where_nothing_was_ever_blocked(make_refresh, tmp_path):
    make_refresh(Blocklist(["leaked"])).refresh()
    assert not (tmp_path / "spool").exists()


def test_start_waits_no_longer_than_its_limit_for_a_database_that_hangs(
    blocks, make_refresh, monkeypatch, clock
):
    blocks.block("user", "u")
    make_refresh(Blocklist()).refresh()  # writes the file
    answers, late = threading.Event(), Blocklist(clock=clock)
    monkeypatch.setattr(blocks, "version", lambda: answers.wait(60) and away())
    monkeypatch.setattr(block_refresh, "START_WAIT_S", 0.01)
    refresh = make_refresh(late)
    refresh.start()
    assert late.blocks_user("u")
    answers.set()
    assert refresh._task.stop(20)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "blocks": [5]}'])
def test_invalid_file_is_not_used(make_refresh, monkeypatch, blocks, tmp_path, caplog, text):
    path = tmp_path / "spool" / "blocks.json"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setattr(blocks, "version", away)
    refresh = make_refresh(Blocklist())
    refresh.start()
    refresh.stop()
    assert "the blocks that are kept in a file cannot be used" in caplog.text


def test_start_succeeds_without_tables_and_without_a_file(
    make_refresh, monkeypatch, blocks, caplog
):
    monkeypatch.setattr(blocks, "version", lambda: 1 / 0)
    refresh = make_refresh(Blocklist(["leaked"]))
    refresh.start()
    refresh.stop()
    assert "access-blocks failed" in caplog.text
    assert "no file has a copy" in caplog.text
