"""Files that processes of a host share.

Those in a private directory in the host's memory survive a worker that ends.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from hashlib import blake2b
from pathlib import Path

#: The tmpfs of every Linux, also in a container with a read-only root. Its files are private here:
#: see `prepare_private`.
MEMORY_DIRECTORY = Path("/dev/shm")  # noqa: S108 - only private directories in it


def directory_for(name: str) -> Path:
    """Return this user's directory for ``name``; `prepare_private` creates it."""
    digest = blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return MEMORY_DIRECTORY / f"embeddings-proxy-{os.geteuid()}-{digest}"


def prepare_private(directory: Path) -> None:
    """Create the directory. Raises OSError if it is another user's, or others can read it."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    require_private(directory)


def require_private(directory: Path) -> None:
    """Raise OSError if the directory is missing, another user's, or others can read it.

    Check it before a read, too: every user of the host may create a directory in the tmpfs, and its
    name can be guessed.
    """
    found = directory.lstat()
    is_private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    if not stat.S_ISDIR(found.st_mode) or not is_private:
        raise PermissionError(1, "not a directory of this user alone", str(directory))


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole, also if the machine stops meanwhile. Raises OSError."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
