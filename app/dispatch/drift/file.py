"""References in a JSON file: ``CHECK["reference"]``, for a proxy without a database."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.concurrency.shared_files import write_atomically
from app.dispatch.drift.reference import BadReference, Reference, ReferencesUnavailable

_log = logging.getLogger("app.drift")

#: Incremented when the meaning of the content changes.
FORMAT = 1
#: Mode of the file: the commands and the server may run as two users; no vector is secret.
MODE = 0o644


class FileReferences:
    """Reads the file, and replaces it atomically, so that a reader never sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def describe(self) -> str:
        return str(self._path)

    def version(self) -> object:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def load(self) -> dict[str, Reference]:
        found: dict[str, Reference] = {}
        for space, entry in self._read().items():
            try:
                found[space] = Reference.from_dict(space, entry)
            except BadReference as error:
                _log.error("%s: %s: record it anew", self._path, error)
        return found

    def save(self, references: Sequence[Reference]) -> None:
        entries = self._read() | {r.space: r.as_dict() for r in references}
        text = json.dumps({"format": FORMAT, "references": entries}, indent=1, ensure_ascii=False)
        try:
            write_atomically(self._path, text.encode(), MODE)
        except OSError as error:
            raise self._unavailable(error) from error

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._unavailable(error) from error
        entries = content.get("references") if isinstance(content, dict) else None
        if not isinstance(entries, dict) or content.get("format") != FORMAT:
            raise ReferencesUnavailable(f"{self._path}: it is of another format than {FORMAT}")
        return entries

    def _unavailable(self, error: Exception) -> ReferencesUnavailable:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        return ReferencesUnavailable(f"{self._path}: {reason}")
