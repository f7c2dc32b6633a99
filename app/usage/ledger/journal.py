"""The journal: files in memory with the rows that are not in the spool yet.

A row is written to it before the answer of its request is sent, so a worker that is killed loses no
row. The files are in a tmpfs (`app.concurrency.shared_files`): a write is a copy in memory, which
no slow or full disk holds up, and the file survives the process, though not the host. They are
segments like those of the spool, which takes over the ones whose process has ended
(`Spool.take_over_journals`).
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from app.concurrency.shared_files import directory_for, prepare_private
from app.database.columns import COLUMNS
from app.usage.ledger.segment import Segment, encode_row, new_segment
from app.usage.record import Row

_log = logging.getLogger("app.usage")

#: Bytes of each of the two files. While the spool fails, rows beyond it are in the process alone.
MAX_JOURNAL_BYTES = 4 * 2**20
#: Rows that are read at a time.
_READ_ROWS = 1_000
_NUMBER = COLUMNS.index("number")


def directory_of(spool: str) -> Path:
    """Return the directory of all journals whose rows go to this spool."""
    return directory_for(str(Path(spool).resolve()))


class Journal:
    """Two files, written in turn: rows are appended to one while those of the other are spooled.

    Any thread may `append`; the ledger's thread alone calls the other methods. Without a directory,
    or where it cannot be written, the journal does nothing.
    """

    def __init__(self, directory: Path | None, writer: str) -> None:
        self._directory, self._writer = directory, writer
        self._files: list[Segment] = []
        self._current = 0
        self._is_other_empty = True

    def open(self) -> None:
        """Create the files; log why they cannot be created."""
        if self._directory is None:
            return
        try:
            self._files = self._create(self._directory)
        except OSError as error:
            _log.warning("a worker that is killed loses rows of the usage ledger: %s", error)

    def _create(self, directory: Path) -> list[Segment]:
        try:
            prepare_private(directory)
            return [new_segment(directory, f"{self._writer}-journal-{i}") for i in (0, 1)]
        except FileNotFoundError:  # another process has removed the directory, empty, meanwhile
            prepare_private(directory)
            return [new_segment(directory, f"{self._writer}-journal-{i}") for i in (2, 3)]

    def append(self, row: Row) -> None:
        """Write a row, if there is room. Never waits, never raises."""
        files = self._files
        if files:
            with contextlib.suppress(OSError, ValueError):  # the row is in the ledger's queue
                files[self._current].write(encode_row(row), MAX_JOURNAL_BYTES)

    def rotate(self) -> None:
        """Let further rows go to the other file, unless that has rows which are not spooled."""
        if self._files and self._is_other_empty and self._files[self._current].size:
            self._is_other_empty = False
            self._current = 1 - self._current

    def clear(self) -> None:
        """Empty the file that was written before `rotate`: its rows are in the spool."""
        if not self._is_other_empty:
            self._files[1 - self._current].empty()
            self._is_other_empty = True

    def row_numbers(self) -> set[int]:
        """Return the numbers of the rows that are in the files."""
        found: set[int] = set()
        for file in self._files:
            with contextlib.suppress(OSError):
                found.update(row[_NUMBER] for rows in file.chunks(_READ_ROWS) for row in rows)
        return found

    def close(self) -> None:
        """Remove the files, and the directory after the last of them.

        The end of the process closes them: another thread may be writing to one.
        """
        files, self._files, self._is_other_empty = self._files, [], True
        for file in files:
            file.path.unlink(missing_ok=True)
        if files and self._directory is not None:
            with contextlib.suppress(OSError):  # other processes have their files there
                self._directory.rmdir()
