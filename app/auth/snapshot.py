"""The last good keys of the table, in a file, for workers that start while the database is away.

It holds what the table holds: digests of keys and what their owners may do, never a key. It belongs
to this user alone (mode 0600), and is not believed where others could have written it. Each worker
writes it anew, whole, so that a reader finds one version or the next.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.auth.key_entry import Entry

#: Counted up when the content means something else.
FORMAT = 1


class Snapshot:
    """One file. Times in seconds since 1970."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, entries: Iterable[Entry], confirmed: float) -> None:
        """Keep the keys as the database had them at this time. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = [asdict(entry) for entry in entries if entry.revoked is None]
        content = {"format": FORMAT, "confirmed": confirmed, "keys": keys}
        fd, name = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)  # 0600
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                json.dump(content, file)
            os.replace(name, self._path)
        except BaseException:
            os.unlink(name)
            raise

    def read(self) -> tuple[float, list[dict[str, Any]]]:
        """When the keys were confirmed, and each as a row of the table.

        Raises OSError, or ValueError for a file that is not ours or not whole.
        """
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(fd, encoding="ascii") as file:
            found = os.fstat(fd)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ValueError("it belongs to others, or others may read or write it")
            content = json.load(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("it is of another version")
        rows = [row for row in content["keys"] if isinstance(row, dict)]
        return float(content["confirmed"]), rows
