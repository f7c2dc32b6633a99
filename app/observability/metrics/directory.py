"""The directory of a server's numbers, as gunicorn's master sees it.

The name of prometheus_client's own variable is used, so that its tools find the files. Imported by
the master, before gevent has patched anything: nothing but the standard library here.
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
    """Make the directory and name it to the workers; None where none can be made.

    A new one for each master: numbers of an earlier server are not this one's, and during an
    upgrade (USR2) two masters run side by side. What killed masters left behind is removed.
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
    """A worker has died: forget what it was doing.

    What it has counted stays under its name, for one may be reading it just now.
    """
    if VARIABLE in os.environ:
        for path in Path(os.environ[VARIABLE]).glob(f"gauge_*_{pid}-*.db"):
            path.unlink(missing_ok=True)


def remove() -> None:
    """The server ends."""
    if VARIABLE in os.environ:
        shutil.rmtree(os.environ.pop(VARIABLE), ignore_errors=True)
