"""A copy of an identity provider's public keys, for workers that start while it is away."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from app.concurrency.shared_files import prepare_private, write_atomically

_log = logging.getLogger("app.auth")

#: Seconds for which a document may be used after the provider last served it.
MAX_AGE_S = 3600.0
#: Bytes of a document; more is not written.
MAX_DOCUMENT_BYTES = 2**20


class JwksSnapshot:
    """A file in a directory that only this user can use; its time is that of the last fetch."""

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
