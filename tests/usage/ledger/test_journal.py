"""The journal: rows that outlive a process which is killed before it has spooled them."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from app.usage.ledger import journal as journals
from app.usage.ledger.journal import Journal, directory_of
from app.usage.ledger.segment import encode_row, new_segment
from app.usage.ledger.spool import Spool
from tests.usage.conftest import row

#: Journals rows 1 and 2, spools 1, journals 3, and is killed.
KILLED = """
import os, pathlib, signal, sys
from app.usage.ledger.journal import Journal
from tests.usage.conftest import row
journal = Journal(pathlib.Path(sys.argv[1]), "killed")
journal.open()
journal.append(row(1))
journal.rotate()
journal.append(row(2))
journal.clear()
journal.append(row(3))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "memory"


@pytest.fixture
def journal(directory):
    made = Journal(directory, "me")
    made.open()
    yield made
    made.close()


def lines(directory):
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*"))).count(b"\n")


def taken_over(tmp_path, directory):
    """The rows that a new process finds."""
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, directory)
    spool.take_over_journals()
    segment = spool.orphan()
    if segment is None:
        return []
    found = [row for chunk in segment.chunks(100) for row in chunk]
    segment.remove()
    return found


def test_rows_of_a_killed_process_are_taken_over_once(tmp_path, directory):
    command = [sys.executable, "-c", KILLED, str(directory)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert taken_over(tmp_path, directory) == [row(2), row(3)]
    assert taken_over(tmp_path, directory) == []
    assert list(directory.iterdir()) == []


def test_rows_of_a_running_process_are_not_taken_over(tmp_path, directory, journal):
    journal.append(row(1))
    assert taken_over(tmp_path, directory) == []


def test_rows_stay_where_the_spool_has_no_room(tmp_path, directory, monkeypatch):
    command = [sys.executable, "-c", KILLED, str(directory)]
    subprocess.run(command, check=False)
    (tmp_path / "spool").write_text("not a directory")
    assert taken_over(tmp_path, directory) == []
    (tmp_path / "spool").unlink()
    assert taken_over(tmp_path, directory) == [row(2), row(3)]


def left_behind(directory, name, *numbers):
    """Leave a journal with rows, as a process does that is killed."""
    dead = Journal(directory, name)
    dead.open()
    for number in numbers:
        dead.append(row(number))
    for file in dead._files:
        file.release()


def test_a_full_disk_leaves_journals_and_no_segment(tmp_path, directory, monkeypatch, caplog):
    spool = Spool(str(tmp_path / "spool"), "new", 2**20, directory)

    def full(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    for episode in (1, 2):
        left_behind(directory, f"dead-{episode}", episode)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            for _ in range(3):
                spool.take_over_journals()
                assert spool.orphan() is None
        assert list((tmp_path / "spool").iterdir()) == []
        assert lines(directory) == 1
        assert caplog.text.count("No space left") == episode
        assert taken_over(tmp_path, directory) == [row(episode)]
        spool.take_over_journals()  # nothing is left: the episode ends


def test_clear_removes_the_rows_before_rotate_alone(directory, journal):
    journal.append(row(1))
    journal.rotate()
    journal.append(row(2))
    assert lines(directory) == 2
    journal.clear()
    assert lines(directory) == 1


def test_rotate_keeps_rows_that_are_not_spooled(directory, journal):
    for number in range(5):
        journal.append(row(number))
        journal.rotate()  # and no clear: the spool fails
    assert lines(directory) == 5


def test_a_file_is_bounded(directory, journal, monkeypatch):
    monkeypatch.setattr(journals, "MAX_JOURNAL_BYTES", 500)
    for number in range(50):
        journal.append(row(number))
    assert 0 < sum(path.stat().st_size for path in directory.iterdir()) <= 500


def test_a_row_that_json_cannot_hold_is_skipped(directory, journal):
    journal.append(row(2**80))
    journal.append(row(1))
    assert lines(directory) == 1


def test_close_leaves_nothing_behind(directory):
    first, second = Journal(directory, "one"), Journal(directory, "two")
    first.open()
    second.open()
    first.append(row(1))
    first.close()
    assert {path.name[:3] for path in directory.iterdir()} == {"two"}
    second.close()
    assert not directory.exists()
    second.append(row(2))  # a request that ends late


def test_files_can_be_read_by_this_user_alone(directory, journal):
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())]
    assert modes == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("made", ["readable by others", "a link"])
def test_a_directory_that_is_not_private_is_not_used(tmp_path, directory, made, caplog):
    if made == "a link":
        (tmp_path / "other").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "other")
    else:
        directory.mkdir(mode=0o755)
    journal = Journal(directory, "me")
    journal.open()
    journal.append(row(1))
    assert list(directory.iterdir()) == []
    assert "a worker that is killed loses rows" in caplog.text


def foreign_directory(tmp_path, directory, how):
    """A directory of journals that this user has not made for itself alone, with a row."""
    directory.mkdir(mode=0o700)
    segment = new_segment(directory, "forged")
    segment.append([row(1)])
    segment.release()
    if how == "a link":
        directory.rename(tmp_path / "other")
        directory.symlink_to(tmp_path / "other")
    elif how == "written by others":
        directory.chmod(0o777)
    elif os.geteuid():
        pytest.skip("only root can make another user's directory")
    else:
        os.chown(directory, 65534, 65534)


@pytest.mark.parametrize("how", ["a link", "written by others", "another user's"])
def test_rows_in_a_directory_that_is_not_private_are_not_taken_over(tmp_path, directory, how):
    foreign_directory(tmp_path, directory, how)
    assert taken_over(tmp_path, directory) == []
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize("how", ["a link", "a pipe", "a directory", "another user's"])
def test_only_files_of_this_user_are_taken_over(tmp_path, directory, journal, how):
    path = directory / "forged.rows2"
    other = tmp_path / "other"
    other.write_bytes(encode_row(row(1)))
    if how == "a link":
        path.symlink_to(other)
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "a directory":
        path.mkdir()
    elif os.geteuid():
        pytest.skip("only root can make another user's file")
    else:
        other.rename(path)
        os.chown(path, 65534, 65534)
    assert taken_over(tmp_path, directory) == []
    assert os.path.lexists(path)
    path.rmdir() if how == "a directory" else path.unlink()


def test_each_spool_and_user_has_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert directory_of("spool") == directory_of(str(tmp_path / "spool"))
    assert directory_of("spool") != directory_of("other")
    assert f"-{os.geteuid()}-" in directory_of("spool").name
