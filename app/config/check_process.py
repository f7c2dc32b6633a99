"""Check settings by building the whole app in a process of its own, within a time limit.

The check is a process of its own for three reasons. Settings are a program, which may end its
process or never return. What it imports (ssl, for instance) must not be loaded in gunicorn's master
before the workers patch the standard library. And what only building the app finds must not stop a
server that runs. The app is built but not started: no background thread runs, no port is opened.

Only a verdict that the process writes counts as good. An exit status is no verdict: settings that
call `sys.exit` end with 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import IO

from app.config.loading import KEPT_FD

#: The module that builds the app and writes the mistakes to the descriptor it is given.
PROGRAM = "app.cli.check_settings"
#: Seconds that the check may take. Building takes one or two; a cold disk takes more.
LIMIT_S = 60.0
#: Characters of one mistake that are shown.
MAX_LINE = 300


def mistakes(kept: int | None = None, limit_s: float = LIMIT_S) -> list[str]:
    """The mistakes in the settings of this environment, a line each; empty if they are good.

    ``kept`` is a descriptor with the text of the settings file, which is then not read again.
    """
    try:
        return _check(kept, limit_s)
    except OSError as error:  # no process, no memory, no descriptor
        return [f"the settings cannot be checked: {error}"]


def _check(kept: int | None, limit_s: float) -> list[str]:
    environment = {n: v for n, v in os.environ.items() if n != KEPT_FD}
    if kept is not None:
        environment[KEPT_FD] = str(kept)
    with _file() as verdict, _file() as said:
        # Files instead of pipes: a child of the settings' own may hold a pipe open for ever.
        fds = (verdict.fileno(),) if kept is None else (verdict.fileno(), kept)
        process = subprocess.Popen(  # noqa: S603 - our own words, no shell
            [sys.executable, "-m", PROGRAM, str(verdict.fileno())],
            env=environment,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return [f"the check of the settings took more than {limit_s:g} s and was stopped"]
        finally:
            _end(process)
        found = _read(verdict)
        return _no_verdict(status, said) if found is None else found


def _file() -> IO[bytes]:
    """A file without a name, in memory if possible: a disk may be read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("check"), "w+b")
    return tempfile.TemporaryFile()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process and of its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(file: IO[bytes]) -> list[str] | None:
    """The verdict; None where the process ended before it wrote one."""
    file.seek(0)
    try:
        found = json.loads(file.read())
    except ValueError:
        return None
    return [str(line) for line in found] if isinstance(found, list) else None


def _no_verdict(status: int, said: IO[bytes]) -> list[str]:
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    text = f"the check of the settings ended early ({how})" + (f": {last}" if last else "")
    return [text[:MAX_LINE]]
