"""Names of workers that have leases. A name shows whether a worker of this host has ended."""

from __future__ import annotations

import os
import secrets
from hashlib import blake2s
from pathlib import Path


def new_worker_name() -> str:
    """Return a name for this process that no other has: its host, its pid, and random digits."""
    return f"{_host() or secrets.token_hex(8)}-{os.getpid()}-{secrets.token_hex(8)}"


def has_ended(name: str) -> bool:
    """Return whether a worker of this host has ended; False where that is not known.

    There are three such cases: (1) it is on another host; (2) its pid has another process by now;
    (3) the system does not let this process ask.
    """
    host, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    if host != _host() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _host() -> str | None:
    """Return a name of the host and of its pid namespace: a pid means nothing in another one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return None
    return blake2s((boot + space).encode(), digest_size=8).hexdigest()
