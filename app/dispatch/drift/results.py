"""Results of checks, and the file that shares them with all workers of a host."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from app.concurrency.shared_files import write_atomically

_log = logging.getLogger("app.drift")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The last check of one deployment, compared with one reference.

    Where a deployment could not be asked, ``error`` says why, and the cosines are of an earlier
    check. Where it refuses some of the texts, ``refusal`` says which, and the cosines are of the
    others. Times are in seconds since 1970.
    """

    reference: str  # its id
    tried_at: float
    checked_at: float = 0.0
    lowest: float | None = None  # cosine; None: the deployment has never answered
    median: float | None = None
    text: str = ""  # the name of the text with the lowest cosine
    error: str = ""
    refusal: str = ""
    failing_since: float = 0.0  # when the first of the checks in a row was that did not end
    retry_s: float = 0.0  # from ``tried_at`` until the next check; 0: CHECK["every"]

    def has_drifted(self, min_cosine: float) -> bool:
        """Whether a cosine is below the limit."""
        return self.lowest is not None and self.lowest < min_cosine

    def with_unfinished(self, now: float, retry_s: float) -> CheckResult:
        """Return the result while a check goes on call by call: with the cosines of this one."""
        return self.with_failure("", now, retry_s)

    def with_failure(self, error: str, now: float, retry_s: float) -> CheckResult:
        """Return the result after a check that failed: with the cosines of this one."""
        since = self.failing_since or now
        return replace(self, tried_at=now, error=error, failing_since=since, retry_s=retry_s)


_FIELDS = {field.name for field in fields(CheckResult)}

#: Results by the key of their target: see `app.dispatch.drift.targets`.
CheckResults = dict[str, CheckResult]


def encode(result: CheckResult) -> str:
    """Return a result as JSON."""
    return json.dumps(asdict(result))


def decode(text: str | bytes) -> CheckResult | None:
    """Return the result that `encode` made this of; None for anything else.

    Fields of a newer version of the program are left out.
    """
    try:
        given = json.loads(text).items()
        found = CheckResult(**{name: value for name, value in given if name in _FIELDS})
        numbers = [found.tried_at, found.checked_at, found.lowest or 0.0, found.median or 0.0]
        numbers += [found.failing_since, found.retry_s]
    except (AttributeError, TypeError, ValueError):
        return None
    return found if all(isinstance(number, int | float) for number in numbers) else None


def newest(results: Mapping[str, CheckResult], others: Mapping[str, CheckResult]) -> CheckResults:
    """Return the later one of two results for each target. All are of the same references."""
    merged = dict(results)
    for key, other in others.items():
        own = merged.get(key)
        if own is None or other.tried_at > own.tried_at:
            merged[key] = other
    return merged


class HostLock:
    """A lock that one process of the host holds until it ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Return whether this process holds the lock now. Never waits."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class ResultsFile:
    """The results of this host: written by the worker with the lock, read by all."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "space-check.json"
        self._seen: tuple[int, int] | None = None  # inode and time of what was read last

    def read(self) -> CheckResults:
        """Return the results; none where there is no file, or it is damaged. Raises OSError."""
        try:
            found = json.loads(self._path.read_bytes())
            decoded = {key: decode(json.dumps(entry)) for key, entry in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            _log.warning("the results of the checks of vector spaces are damaged")
            return {}
        return {key: result for key, result in decoded.items() if result is not None}

    def read_if_changed(self) -> CheckResults | None:
        """Return the results if they have changed since the last call."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        version = (found.st_ino, found.st_mtime_ns)
        if version == self._seen:
            return None
        self._seen = version
        return self.read()

    def write(self, results: Mapping[str, CheckResult]) -> None:
        """Replace the results. Raises OSError."""
        content = {key: asdict(result) for key, result in sorted(results.items())}
        write_atomically(self._path, json.dumps(content).encode(), 0o600)
