"""Rows on their way, in files: what is written here outlives the process and the database's rest.

A file is a *segment*: a JSON list a line, a row each. Its writer holds a lock on it (flock) until
its rows are in the database and it is removed; so one that can be locked is of a process that died,
and whoever finds it takes it over. Rows that are sent twice count once: see `app.usage.record`.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson

from app.usage.record import Row, is_row

_log = logging.getLogger("app.usage")

#: Of the file of a process with what it set aside: one JSON object a line.
_REFUSED_SUFFIX = ".refused"
#: Bytes of that file; what comes then is only counted.
MAX_REFUSED_BYTES = 16 * 2**20
_SUFFIX = ".rows1"  # 1: the columns as they are now; whoever changes them must read both


class Segment:
    """One file, locked by us. ``sent`` counts its bytes whose rows are in the database."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self.sent = 0
        self.cut_off = 0  # lines without their end: their writer was killed
        self.not_rows: list[bytes] = []  # whole lines that are no rows

    def append(self, rows: Iterable[Row]) -> None:
        """Raises OSError, or ValueError for a row that is no JSON; then nothing was appended."""
        data = b"".join(map(_line, rows))
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def chunks(self, rows: int) -> Iterator[list[Row]]:
        """What is not sent yet, so many rows at a time; going on to the next says that one is."""
        with self.path.open("rb") as file:
            file.seek(self.sent)
            while lines := list(itertools.islice(file, rows)):
                parsed = [row for line in lines if (row := self._parse(line)) is not None]
                if parsed:
                    yield parsed
                self.sent += sum(map(len, lines))

    def _parse(self, line: bytes) -> Row | None:
        if not line.endswith(b"\n"):
            self.cut_off += 1
            return None
        with contextlib.suppress(orjson.JSONDecodeError):
            row: Row = orjson.loads(line)
            if is_row(row):
                return row
        self.not_rows.append(line)
        return None

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Let somebody else take it over."""
        os.close(self._fd)


class Spool:
    """A directory of segments. ``writer`` is the name of this process in it."""

    def __init__(self, directory: str, writer: str, most_bytes: int) -> None:
        self._directory = Path(directory)
        self._writer = writer
        self.most_bytes = most_bytes
        self._numbers = itertools.count()

    def prepare(self) -> None:
        """Make the directory. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(self._directory))

    def new(self) -> Segment:
        """A new segment of ours. Raises OSError."""
        path = self._directory / f"{self._writer}-{next(self._numbers)}{_SUFFIX}"
        unnamed = path.with_suffix("")  # until it is locked, lest somebody takes it for an orphan
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(unnamed, flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
        return Segment(path, fd)

    def set_aside(self, entries: Iterable[Mapping[str, object]]) -> None:
        """Append what cannot be written to a file beside the segments, where there is room.

        Never raises OSError: what is set aside is counted as lost anyhow.
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
        """A segment that its writer left behind, now ours."""
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError):  # removed meanwhile
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(fd).st_nlink:
                        return Segment(path, fd)
                except BlockingIOError:  # its writer lives
                    pass
                os.close(fd)
        return None


def _line(row: Row) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:  # an integer over 64 bits, a lone surrogate
        raise ValueError(str(error)) from error


def is_writable(row: Row) -> bool:
    """Whether a segment takes this row."""
    try:
        _line(row)
    except ValueError:
        return False
    return True
