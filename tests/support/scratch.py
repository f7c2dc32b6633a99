"""Where temporary files of tests are: in memory, if it has room.

A commit of SQLite waits for the disk, 5 to 20 ms, and the tests make tens of thousands.
"""

import os
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
#: The tests of a release and of the image install packages there.
MIN_FREE_BYTES = 4 * 2**30


def use_memory(environment: os._Environ[str] | dict[str, str], place: Path = MEMORY) -> None:
    """Set TMPDIR in an environment, unless it is set or ``place`` does not suit."""
    if "TMPDIR" not in environment and is_suitable(place):
        environment["TMPDIR"] = str(place)
        tempfile.tempdir = None  # the next use reads TMPDIR


def is_suitable(place: Path) -> bool:
    """Whether files there can be written and executed, and have room: that of a container is small.

    Files in memory take it from the tests, so as much must be available as is free there.
    """
    if not os.access(place, os.W_OK):
        return False
    found = os.statvfs(place)
    if found.f_flag & os.ST_NOEXEC or found.f_bavail * found.f_frsize < MIN_FREE_BYTES:
        return False
    return available_bytes() >= 2 * MIN_FREE_BYTES


def available_bytes() -> int:
    """Return the memory that programs can still have, or 0 where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    found = (line.split() for line in lines)
    return next((int(words[1]) * 1024 for words in found if words[0] == "MemAvailable:"), 0)
