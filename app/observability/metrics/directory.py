"""Creates and cleans up the directory of the metrics' files, in gunicorn's master.

Its environment variable is prometheus_client's, so that the library's tools find the files. The
master imports this module before gevent patches the standard library, so it imports nothing else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "embeddings-proxy-metrics-"


def prepare(place: str | None = None) -> Path | None:
    """Create the directory and set `VARIABLE`; return None if it cannot be created.

    Each master has a new directory, because two run side by side during an upgrade (USR2).
    Directories that killed masters left behind are removed.
    """
    parent = Path(place or tempfile.gettempdir())
    for old in parent.glob(f"{_PREFIX}*"):
        pid = old.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    os.environ.pop(VARIABLE, None)
    with suppress(OSError):
        made = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)
        os.environ[VARIABLE] = made
        return Path(made)
    return None


def remove_worker_files(pid: int) -> None:
    """Remove the gauges of a worker that has ended, and its socket.

    The files of its counters stay: a scrape may be reading them.
    """
    if VARIABLE in os.environ:
        for pattern in (f"gauge_*_{pid}-*.db", f"live-{pid}.sock"):
            for path in Path(os.environ[VARIABLE]).glob(pattern):
                path.unlink(missing_ok=True)


def remove() -> None:
    """Remove the directory, at the end of the server."""
    if VARIABLE in os.environ:
        shutil.rmtree(os.environ.pop(VARIABLE), ignore_errors=True)
