"""Copies in files, for workers that start while the database or the identity provider is away.

A copy of the table of keys holds the same as the table: digests of keys and what each permits,
never a plaintext key. Its mode is 0600; a file that another user owns, may read or may write is not
used. Workers replace the whole file atomically, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.concurrency.shared_files import prepare_private, write_atomically
from app.concurrency.yielding import iterate_with_yields

if TYPE_CHECKING:
    from app.auth.key_entry import KeyEntry

#: Incremented when the meaning of the content changes.
FORMAT = 1
_log = logging.getLogger("app.auth")

#: Seconds for which a document may be used after the provider last served it.
MAX_AGE_S = 3600.0
#: Bytes of a document; more is not written.
MAX_DOCUMENT_BYTES = 2**20


class KeySnapshot:
    """Writes and reads the copy of the table of keys. Times are in seconds since 1970."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, entries: Iterable[KeyEntry], confirmed: float) -> None:
        """Write the keys that the database had at the time ``confirmed``. Raises OSError."""
        kept = (entry for entry in iterate_with_yields(entries) if entry.revoked is None)
        keys = ",".join([json.dumps(_fields_of(entry)) for entry in kept])
        content = f'{{"format": {FORMAT}, "confirmed": {confirmed}, "keys": [{keys}]}}'
        write_private(self._path, content.encode())

    def read(self) -> tuple[float, list[dict[str, Any]]]:
        """Return when the keys were confirmed, and the keys as rows of the table.

        Raises OSError; ValueError, KeyError or TypeError for a file that must not be used.
        """
        content = read_private(self._path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("it is of another version")
        rows = [row for row in content["keys"] if isinstance(row, dict)]
        return float(content["confirmed"]), rows


def _fields_of(entry: KeyEntry) -> dict[str, Any]:
    """Return its fields; `dataclasses.asdict` copies each value, which takes four times as long."""
    return {name: getattr(entry, name) for name in entry.__slots__}


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that only this user can read, and make its directory. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, content, 0o600)


def read_private(path: Path) -> Any:
    """Return the JSON of a file of `write_private`.

    Raises OSError; ValueError for a file that another user owns, may read or may write.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(fd, encoding="ascii") as file:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ValueError("it belongs to others, or others may read or write it")
        return json.load(file)


class JwksSnapshot:
    """A copy of a provider's public keys: its file's time is that of the last fetch.

    It is in a directory that only this user can use.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory, self._clock = directory, clock
        self._path = directory / "jwks.json"

    def write(self, data: bytes) -> None:
        """Replace the document as a whole; log why that fails."""
        if len(data) > MAX_DOCUMENT_BYTES:
            return
        try:
            prepare_private(self._directory)
            write_atomically(self._path, data, 0o600)
            os.utime(self._path, (self._clock(), self._clock()))
        except OSError as error:
            _log.warning("the JWKS cannot be kept for new workers: %s", error)

    def read(self) -> bytes | None:
        """Return the document if it may be used; else None."""
        try:
            prepare_private(self._directory)
            age_s = self._clock() - self._path.stat().st_mtime
            return self._path.read_bytes() if abs(age_s) <= MAX_AGE_S else None
        except OSError:  # never written, as a rule
            return None
