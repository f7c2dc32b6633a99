"""The spool: files with ledger rows that are not in the database yet.

Rows in the spool survive the end of the process and an outage of the database. Each file is a
*segment*: one JSON list, a row, on each line. Its process holds a lock on it (flock) until its rows
are in the database and the file is removed. A segment that can be locked is an *orphan*: its
process has ended, and the process that locks it ships it. A row that is inserted twice counts once,
because (writer, number) is the primary key.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson

from app.concurrency.host_memory import require_private
from app.usage.record import Row, row_of

_log = logging.getLogger("app.usage")

#: Suffix of the file with the rows that a process set aside: one JSON object on each line.
_REFUSED_SUFFIX = ".refused"
#: Bytes of that file; further rows are only counted.
MAX_REFUSED_BYTES = 16 * 2**20
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


class Spool:
    """A directory of segments, of at most ``max_bytes`` for this process.

    ``writer`` is the name of this process, with which its files begin. ``journals`` is the
    directory of the journals of all processes that share this spool.
    """

    def __init__(
        self, directory: str, writer: str, max_bytes: int, journals: Path | None = None
    ) -> None:
        self._directory, self._journals = Path(directory), journals
        self._writer = writer
        self.max_bytes = max_bytes
        self._numbers = itertools.count()
        self._is_take_over_failing = False  # since the last log line about it

    def prepare(self) -> None:
        """Create the directory. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(self._directory))

    def new(self) -> Segment:
        """Create and lock an empty segment. Raises OSError."""
        return new_segment(self._directory, f"{self._writer}-{next(self._numbers)}")

    def set_aside(self, entries: Iterable[Mapping[str, object]]) -> None:
        """Append refused rows to a file beside the segments, up to `MAX_REFUSED_BYTES`.

        Never raises OSError: rows that are set aside count as lost in any case.
        """
        path = self._directory / f"{self._writer}{_REFUSED_SUFFIX}"
        text = "".join(json.dumps(entry, default=repr) + "\n" for entry in entries)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(fd, "a", encoding="ascii") as file:
                if os.fstat(fd).st_size + len(text) <= MAX_REFUSED_BYTES:
                    file.write(text)
        except OSError as error:
            _log.error("the usage ledger cannot write %s: %s", path, error)

    def orphan(self) -> Segment | None:
        """Lock and return a segment whose process has ended; None if there is none."""
        return next(_orphans(self._directory), None)

    def take_over_journals(self) -> None:
        """Move the rows of journals whose process has ended to the spool, as orphans.

        The spool survives a restart of the host, the journals do not. Those that the spool has no
        room for stay; the reason is logged once until a call moves all.
        """
        if self._journals is None:
            return
        failure: OSError | None = None
        # Not private: any user of the host could have written these rows. Or there is none.
        with contextlib.suppress(OSError):
            require_private(self._journals)
            for journal in _orphans(self._journals):
                try:
                    self._take_over(journal)
                except OSError as error:
                    failure = error
        if failure is not None and not self._is_take_over_failing:
            _log.error(
                "the usage ledger cannot write its spool: %s; rows of killed workers stay in %s",
                failure,
                self._journals,
            )
        self._is_take_over_failing = failure is not None

    def _take_over(self, journal: Segment) -> None:
        """Move the rows of a journal to a segment, an orphan then. Raises OSError: they stay."""
        try:
            if journal.size:
                self.prepare()
                self._copy(journal)
        except OSError:
            journal.release()
            raise
        journal.remove()

    def _copy(self, journal: Segment) -> None:
        segment = self.new()
        try:
            segment.append_lines(journal.path.read_bytes())
        except OSError:
            segment.remove()  # empty, it would be an orphan
            raise
        segment.release()


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


def _orphans(directory: Path) -> Iterator[Segment]:
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
