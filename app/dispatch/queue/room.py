"""The jobs with parts that no queue accepts, because it is full. No I/O.

A job that has bought vectors, or whose other parts run, waits until a full queue has room for its
next part. It is woken then, so that it need not poll the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from app.concurrency.locks import uncontended_lock


class RoomWaiters:
    """Functions that wake jobs, in the order in which these began to wait for a queue.

    The lock guards ``_wakes``. It may be taken under the lock of a job; none is taken under it.
    """

    def __init__(self) -> None:
        self._wakes: dict[Callable[[], None], None] = {}
        self._lock = uncontended_lock()

    def add(self, wake: Callable[[], None]) -> None:
        """Have a job woken once when the queue has room."""
        with self._lock:
            self._wakes[wake] = None

    def remove(self, wake: Callable[[], None]) -> None:
        """Forget a job, which has ended."""
        with self._lock:
            self._wakes.pop(wake, None)

    def wake(self, room: int) -> None:
        """Wake as many jobs as attempts may wait now. Call it under no lock."""
        if not self._wakes or room <= 0:
            return
        with self._lock:
            woken = list(islice(self._wakes, room))
            for wake in woken:
                del self._wakes[wake]
        for wake in woken:
            wake()
