"""What ended workers leave to the others, in files of the directory that they share.

A worker that ends, at a reload or for good, adds its figures and its last requests to those of
workers before it. A worker that is killed leaves nothing. The directory is removed at the end of
the server.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from app.concurrency.shared_files import write_atomically
from app.observability.live.counted import Counted
from app.observability.live.recent_requests import MAX_REQUESTS

_log = logging.getLogger("app.observability.live")

#: Returns the figures of ended workers with those of this one; None: there are none yet.
Merge = Callable[[Counted | None], Counted]
FIGURES, REQUESTS, LOCK = "live-figures.json", "live-requests.json", "live.lock"


class History:
    """The files of ended workers; ``directory`` None: none are kept."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._seen: tuple[int, int] | None = None  # inode and time of the file read last
        self._figures: Counted | None = None

    def figures(self) -> Counted | None:
        """Return what ended workers have counted; None without any."""
        if self._directory is None:
            return None
        path = self._directory / FIGURES
        try:
            found = path.stat()
        except OSError:
            return None
        version = (found.st_ino, found.st_mtime_ns)
        if version != self._seen:
            self._figures, self._seen = _counted(path), version
        return self._figures

    def requests(self) -> list[dict[str, Any]]:
        """Return the described requests of ended workers."""
        kept = _load(self._directory / REQUESTS) if self._directory is not None else None
        return kept or []

    def add(self, figures: Merge, requests: Sequence[dict[str, Any]]) -> None:
        """Add what this worker has counted and kept. ``figures`` merges it with that of others."""
        if self._directory is None:
            return
        try:
            with _locked(self._directory / LOCK):
                merged = figures(_counted(self._directory / FIGURES)).to_json()
                write_atomically(self._directory / FIGURES, orjson.dumps(merged), 0o600)
                kept = sorted(
                    [*(_load(self._directory / REQUESTS) or ()), *requests],
                    key=lambda request: request["started_at"],
                )
                text = orjson.dumps(kept[-MAX_REQUESTS:])
                write_atomically(self._directory / REQUESTS, text, 0o600)
        except OSError as error:  # the directory is gone: the server ends
            _log.debug("figures of an ended worker are lost: %s", error)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # for milliseconds
        yield
    finally:
        os.close(fd)


def _load(path: Path) -> Any:
    """Return the content of a file; None where there is none."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _counted(path: Path) -> Counted | None:
    found = _load(path)
    return None if found is None else Counted.from_json(found)
