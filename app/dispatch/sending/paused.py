"""Sends the attempts of a queue that wait for a quota, when its pause has ended."""

from __future__ import annotations

import _thread
import logging
import time
from collections.abc import Callable

from app.concurrency.locks import Wakeup, uncontended_lock
from app.dispatch.queue.batch import Batch
from app.dispatch.queue.slot_queue import SlotQueue

_log = logging.getLogger("app.dispatch")


class PausedQueues:
    """Sends the attempts that wait in queues, when the pauses of these have ended.

    Its thread (a greenlet under gevent) runs while a queue is paused, and ends after the last
    pause. Where it cannot be started, the jobs that wait try again: they see ``has_lost_pause`` of
    the queue. The lock guards all fields; nothing waits under it.
    """

    def __init__(self, send: Callable[[Batch], None]) -> None:
        self._send = send
        self._due: dict[SlotQueue, float] = {}
        self._has_thread = False
        self._wakeup = Wakeup()
        self._lock = uncontended_lock()

    def resume_at(self, queue: SlotQueue, at: float) -> None:
        """Check a queue at that time, or earlier. Never waits; may be called under its lock."""
        with self._lock:
            if at >= self._due.get(queue, float("inf")):
                return
            self._due[queue] = at
            if not self._has_thread:
                try:
                    _thread.start_new_thread(self._run, ())
                except Exception:  # no thread can be had
                    del self._due[queue]
                    queue.has_lost_pause = True
                    return
                self._has_thread = True
            queue.has_lost_pause = False
        self._wakeup.set()

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                due = [queue for queue, at in self._due.items() if at <= now]
                for queue in due:
                    del self._due[queue]
                if not due and not self._due:
                    self._has_thread = False
                    return
                wait = min(self._due.values(), default=now) - now
            for queue in due:
                self._resume(queue, now)
            if not due:
                self._wakeup.wait(wait)

    def _resume(self, queue: SlotQueue, now: float) -> None:
        try:
            while (batch := queue.take_next(now)) is not None:
                self._send(batch)
        except Exception:  # a bug must not end the thread: other queues wait for it
            _log.exception("sending the attempts of a queue after its pause failed")
