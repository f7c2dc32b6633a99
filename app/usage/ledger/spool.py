"""The spool: files with ledger rows that are not in the database yet.

Rows in the spool survive the end of the process and an outage of the database. Each file is a
segment (`app.usage.ledger.segment`). Its process holds a lock on it (flock) until its rows are in
the database and the file is removed. A row that is inserted twice counts once, because (writer,
number) is the primary key.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.concurrency.shared_files import require_private
from app.usage.ledger.segment import Segment, new_segment, orphans

_log = logging.getLogger("app.usage")

#: Suffix of the file with the rows that a process set aside: one JSON object on each line.
_REFUSED_SUFFIX = ".refused"
#: Bytes of that file; further rows are only counted.
MAX_REFUSED_BYTES = 16 * 2**20


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
        return next(orphans(self._directory), None)

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
            for journal in orphans(self._journals):
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
