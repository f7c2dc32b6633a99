"""Leases slots to the workers of one host without Redis or Valkey, by files that they share."""

from __future__ import annotations

import fcntl
import json
import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from app.concurrency.periodic import PeriodicTask
from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLease, SlotLeaseRequest
from app.limits.leases.slot_table import SlotTable
from app.limits.leases.worker_names import has_ended

if TYPE_CHECKING:
    from app.redis.client import Chores

#: Seconds between two exchanges of a worker, at most; an idle one returns slots after two.
ROUND_S = 0.25
#: Seconds until the next try, where another worker has the lock.
RETRY_S = 0.005
#: Seconds of silence after which a worker may have ended.
MAYBE_ENDED_S = 0.5
#: Seconds that a worker which stops waits for its last exchange.
CLOSE_TIMEOUT_S = 1.0


class HostStore:
    """The `SlotTable` of each provider, in a file in a directory of this server alone.

    ``chores`` makes the exchanges, in a background task, every `ROUND_S` and after `wake`. It is
    called under a lock of the file system. A worker that finds the lock taken tries again after
    `RETRY_S` and does not wait for it: the worker that holds it may have been stopped (SIGSTOP).
    """

    def __init__(self, directory: Path, chores: Chores) -> None:
        self._directory, self._chores = directory, chores
        self._lock_fd = -1
        self._table_fds: dict[str, int] = {}
        self._round_at = 0.0
        self._task = PeriodicTask("slots", self._round, ROUND_S, at_stop=self._finish)

    def start(self) -> None:
        """Start the task, in the process that serves."""
        self._task.start()

    def wake(self) -> None:
        """Have the next exchanges made now."""
        self._task.wake()

    def close(self) -> None:
        """Make the last exchanges, and close the files."""
        self._task.stop(CLOSE_TIMEOUT_S)

    def exchange(
        self, provider: str, worker: str, queue: LeasedSlotQueue, asked: SlotLeaseRequest
    ) -> SlotLease | None:
        """Return the answer to a question, and write the table that it leaves to the file.

        The lock must be held: ``chores`` call it, which `_round` calls under the lock.
        """
        now = time.monotonic()  # of all processes of a host
        if provider not in self._table_fds:
            digest = blake2b(provider.encode(), digest_size=8).hexdigest()
            self._table_fds[provider] = self._open(f"slots-{digest}")
        fd = self._table_fds[provider]
        table = _read(fd, now)
        table.remove(lambda name, row: now - row.seen > MAYBE_ENDED_S and has_ended(name))
        lease = table.exchange(worker, queue.limit, queue.hold_s, asked, now)
        os.pwrite(fd, json.dumps(table.values()).encode() + b"\n", 0)
        return lease

    def _open(self, name: str) -> int:
        return os.open(self._directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    # In the task

    def _round(self) -> float | None:
        """Make the exchanges; return the seconds until the next."""
        if not self._lock():
            return RETRY_S
        try:
            began = time.monotonic()
            is_due = began >= self._round_at
            if is_due:
                self._round_at = began + ROUND_S
            self._chores(self, is_due)
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return self._round_at - began

    def _finish(self) -> None:
        self._round()  # where the lock is taken, others see by its pid that it has ended
        for fd in (self._lock_fd, *self._table_fds.values()):
            os.close(fd)

    def _lock(self) -> bool:
        if self._lock_fd < 0:
            self._lock_fd = self._open("slots-lock")
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _read(fd: int, now: float) -> SlotTable:
    """Return the table in a file; a new one where it has none, or cannot be read.

    A file that cannot be read had leases: the new table leases nothing for `GRACE_S`, in which
    workers ask it to keep the slots that they have. An empty file had none.
    """
    text, _, _ = os.pread(fd, os.fstat(fd).st_size, 0).partition(b"\n")
    if not text:  # the server has just started
        return SlotTable(0.0, 0.0)
    try:
        return SlotTable.from_values(json.loads(text))
    except (ValueError, TypeError, AttributeError):
        return SlotTable(now, now)
