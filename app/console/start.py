"""Makes the secret that signs sessions, and the code of ``make run``, once for all workers.

Both are passed on in environment variables. gunicorn's master imports this before its workers patch
the standard library, so it imports nothing that opens sockets.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from app.observability.metrics.directory import VARIABLE as DIRECTORY_VARIABLE

#: The secret that signs sessions, where the settings have none.
SECRET_VARIABLE = "PROXY_CONSOLE_SECRET"  # noqa: S105 - a name
#: The SHA-256 of the one-time code, and when it expires (seconds since 1970).
CODE_VARIABLE = "PROXY_CONSOLE_CODE"
CODE_LIFETIME_S = 15 * 60
#: A file in the directory that the workers share, which exists once the code is used.
_USED = "console-code-used"


def prepare_secret() -> None:
    """Make the secret, in gunicorn's master; a reload keeps it, a restart ends all sessions."""
    os.environ[SECRET_VARIABLE] = secrets.token_urlsafe(32)


def new_code(clock: Callable[[], float] = time.time) -> tuple[str, str]:
    """Return a one-time code, and the value of `CODE_VARIABLE` for it."""
    code = secrets.token_urlsafe(24)
    return code, f"{_digest(code)}:{int(clock()) + CODE_LIFETIME_S}"


def take_code(code: str, clock: Callable[[], float] = time.time) -> bool:
    """Return whether this is the code of ``make run``, and use it up, for all workers.

    There is none in a server that is started in another way.
    """
    digest, _, end = os.environ.get(CODE_VARIABLE, "").partition(":")
    directory = os.environ.get(DIRECTORY_VARIABLE)
    is_code = hmac.compare_digest(digest.encode(), _digest(code).encode())
    if not is_code or directory is None or clock() >= int(end):
        return False
    try:
        (Path(directory) / _USED).touch(mode=0o600, exist_ok=False)
    except OSError:  # another worker was first, or no file can be made
        return False
    return True


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
