"""The spool: written rows are found after a crash, and each is read once."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.usage.ledger.segment import encode_row, new_segment
from app.usage.ledger.spool import Spool
from tests.usage.conftest import row


@pytest.fixture
def spool(tmp_path):
    made = Spool(str(tmp_path / "deep" / "spool"), "me", 1000)
    made.prepare()
    return made


def rows(*numbers):
    return [row(n) for n in numbers]


def test_rows_come_back_in_order_and_in_portions(spool):
    segment = spool.new()
    segment.append(rows(1, 2))
    segment.append(rows(3))
    assert list(segment.chunks(2)) == [rows(1, 2), rows(3)]
    assert segment.sent == segment.size
    assert list(segment.chunks(2)) == []
    segment.remove()
    assert list(segment.path.parent.iterdir()) == []


def test_chunk_not_counted_as_sent_is_read_again(spool):
    segment = spool.new()
    segment.append(rows(1, 2, 3))
    for chunk in segment.chunks(1):
        if chunk == rows(2):
            break
    assert list(segment.chunks(5)) == [rows(2, 3)]


def test_only_segments_of_ended_processes_are_orphans(spool, tmp_path):
    segment = spool.new()
    segment.append(rows(1))
    assert spool.orphan() is None
    segment.release()
    found = spool.orphan()
    assert list(found.chunks(9)) == [rows(1)]
    assert spool.orphan() is None
    found.remove()
    found_again = spool.orphan()
    assert found_again is None


def test_incomplete_and_invalid_lines_are_skipped_and_counted(spool):
    segment = spool.new()
    segment.append(rows(1))
    with segment.path.open("ab") as file:
        file.write(b'{"no": "row"}\n[1, 2]\n\xff\xfe\n["w", 2, "cut o')
    assert list(segment.chunks(1)) == [rows(1)]
    assert segment.cut_off == 1
    assert segment.not_rows == [b'{"no": "row"}\n', b"[1, 2]\n", b"\xff\xfe\n"]


def test_rows_of_the_version_before_get_an_empty_space_and_the_default_tier(spool):
    spool.new().append(rows(1))  # its process is running
    older = spool.new()
    older.append([row(2)[:-2], row(3)[:-2], row(4, space=5), [*row(5), "more"]])
    older.path.rename(older.path.with_suffix(".rows1"))
    older.release()
    found = spool.orphan()
    assert list(found.chunks(9)) == [[row(2, space=""), row(3, space="")]]
    assert len(found.not_rows) == 2
    found.remove()
    assert spool.orphan() is None


def test_full_disk_leaves_no_partial_row(spool, monkeypatch):
    segment = spool.new()
    segment.append(rows(1))
    write = os.write
    written = []

    def full(fd, data):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(fd, bytes(data)[:10]))
        return 10

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        segment.append(rows(2))
    monkeypatch.undo()
    segment.append(rows(3))
    assert list(segment.chunks(9)) == [rows(1, 3)]


def test_row_after_a_short_write_begins_on_a_new_line(spool, monkeypatch):
    segment = spool.new()
    real = os.write
    segment.write(encode_row(row(1)), 1000)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:10]))
        segment.write(encode_row(row(2)), 1000)
    for number in (3, 4):
        segment.write(encode_row(row(number)), 1000)
    assert segment.size == segment.path.stat().st_size
    assert list(segment.chunks(9)) == [rows(1, 3, 4)]
    assert segment.not_rows == [encode_row(row(2))[:10] + b"\n"]
    segment.empty()
    segment.write(encode_row(row(5)), 1000)
    assert segment.path.read_bytes() == encode_row(row(5))


@given(st.lists(st.none() | st.integers(1, 500), max_size=20))
def test_every_row_that_was_written_whole_is_read_back(taken):
    """``taken`` is how many bytes the file system takes of each row; None: all."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        segment = new_segment(Path(directory), "any")
        real = os.write
        for number, most in enumerate(taken):
            patched.setattr(os, "write", lambda fd, data, most=most: real(fd, bytes(data)[:most]))
            segment.write(encode_row(row(number)), 10**6)
        found = [r for chunk in segment.chunks(3) for r in chunk]
        size = segment.path.stat().st_size
        segment.remove()
    assert size == segment.size == segment.sent
    assert {r[1] for r in found} >= {n for n, most in enumerate(taken) if most is None}
    assert all(r == row(r[1]) for r in found)
    assert len(found) == len({r[1] for r in found})


def test_bad_lines_count_once_however_often_a_chunk_is_read(spool):
    segment = spool.new()
    segment.append_lines(b"no row\n" + encode_row(row(1)) + b'["cut o')
    for _ in range(3):
        assert next(segment.chunks(9)) == rows(1)  # and the insert fails
    assert (segment.not_rows, segment.cut_off) == ([], 0)
    assert list(segment.chunks(9)) == [rows(1)]
    assert (segment.not_rows, segment.cut_off) == ([b"no row\n"], 1)


def test_spool_is_readable_only_by_its_owner(spool):
    segment = spool.new()
    assert segment.path.stat().st_mode & 0o077 == 0
    assert segment.path.parent.stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        Spool(str(tmp_path), "me", 1).prepare()


def test_segment_removed_meanwhile_is_no_orphan(spool, monkeypatch):
    segment = spool.new()
    path = segment.path
    segment.release()
    real = os.open

    def late(name, *args):
        fd = real(name, *args)
        if str(name) == str(path):
            path.unlink()
        return fd

    monkeypatch.setattr(os, "open", late)
    assert spool.orphan() is None
