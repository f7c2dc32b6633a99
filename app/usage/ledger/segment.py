"""A segment: a file with ledger rows, locked by the process that writes or ships it.

One JSON list, a row, on each line. A segment that can be locked is an *orphan*: its process has
ended, and the process that locks it ships it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from app.usage.record import Row, row_of

#: Suffix of a segment. 2 is the version of the columns: a change of them needs a new suffix, and
#: code that reads both. Processes of an older version leave segments with a newer suffix alone.
_SUFFIX = ".rows2"
_SUFFIXES = (".rows1", _SUFFIX)  # those that are read


class Segment:
    """One file of rows, locked by this process.

    ``size`` is its length in bytes; the rows of the first ``sent`` bytes are in the database.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self.sent = 0
        self._ends_within_line = False  # after a short write
        # Of the first ``sent`` bytes:
        self.cut_off = 0  # incomplete last lines: the process was killed while it wrote
        self.not_rows: list[bytes] = []  # complete lines that are no valid rows

    def append(self, rows: Iterable[Row]) -> None:
        """Append all rows or none. Raises OSError, or ValueError where JSON cannot hold a row."""
        self.append_lines(b"".join(map(encode_row, rows)))

    def append_lines(self, data: bytes) -> None:
        """Append all of these lines or none. Raises OSError."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def write(self, line: bytes, max_bytes: int) -> None:
        """Append one line in one system call, if there is room. Raises OSError.

        Threads may call it at once: the kernel appends one line after the other. ``size`` is then
        only about right.
        """
        if self.size + len(line) <= max_bytes:
            data = b"\n" + line if self._ends_within_line else line
            written = os.write(self._fd, data)
            # Short where the file system gets full: the next row must not join what is there.
            self._ends_within_line = written < len(data)
            self.size += written

    def empty(self) -> None:
        """Remove all lines."""
        os.ftruncate(self._fd, 0)
        self.size = 0
        self._ends_within_line = False

    def chunks(self, rows: int) -> Iterator[list[Row]]:
        """Yield the rows that are not sent yet, ``rows`` at a time.

        Asking for the next chunk counts the previous one as sent.
        """
        with self.path.open("rb") as file:
            file.seek(self.sent)
            while lines := list(itertools.islice(file, rows)):
                complete = [line for line in lines if line.endswith(b"\n")]
                parsed = [(_row_in(line), line) for line in complete]
                found = [row for row, _ in parsed if row is not None]
                if found:
                    yield found
                # Not before: a chunk that cannot be inserted is read again.
                self.sent += sum(map(len, lines))
                self.cut_off += len(lines) - len(complete)
                self.not_rows += [line for row, line in parsed if row is None and line != b"\n"]

    def remove(self) -> None:
        """Delete the file, and unlock it."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Unlock the file: another process may ship it."""
        os.close(self._fd)


def new_segment(directory: Path, name: str) -> Segment:
    """Create and lock an empty segment. Raises OSError."""
    path = directory / f"{name}{_SUFFIX}"
    # Without the suffix until it is locked: another process would take it for an orphan.
    unnamed = path.with_suffix("")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(unnamed, flags, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(path)
    return Segment(path, fd)


def orphans(directory: Path) -> Iterator[Segment]:
    """Lock and yield each segment of a directory whose process has ended.

    Links and files of other users are left alone: their rows are not of this proxy.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe does not wait
    for path in sorted(p for suffix in _SUFFIXES for p in directory.glob(f"*{suffix}")):
        with contextlib.suppress(OSError):  # removed meanwhile
            fd = os.open(path, flags)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_orphan = _is_own_file(os.fstat(fd))
            except BlockingIOError:  # its process is running
                is_orphan = False
            if is_orphan:
                yield Segment(path, fd)
            else:
                os.close(fd)


def _row_in(line: bytes) -> Row | None:
    """Return the row of a line; None if it has none."""
    try:
        return row_of(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None


def _is_own_file(found: os.stat_result) -> bool:
    """Whether this is a regular file of this user that still has a name."""
    is_own = found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode)
    return is_own and found.st_nlink > 0


def encode_row(row: Row) -> bytes:
    """Return the line of a row. Raises ValueError where JSON cannot hold it."""
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:  # an integer over 64 bits, a lone surrogate
        raise ValueError(str(error)) from error


def is_writable(row: Row) -> bool:
    """Whether JSON can hold this row."""
    try:
        encode_row(row)
    except ValueError:
        return False
    return True
