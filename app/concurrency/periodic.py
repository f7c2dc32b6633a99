"""Background work in a thread of its own: `PeriodicTask`."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("app.concurrency")

#: Seconds between two runs at least, where a run takes longer than its interval.
MIN_PAUSE_S = 0.01


def _wait_for(event: threading.Event, seconds: float) -> bool:
    # Not `threading.Event.wait` itself: gevent may replace the class after this import.
    return event.wait(seconds)


class PeriodicTask:
    """Runs a function every ``interval_s`` seconds in a daemon thread (a greenlet under gevent).

    ``run`` may return the seconds until its next run, in the place of ``interval_s``; it returns
    None otherwise. Both count from the beginning of a run. The first run comes ``first_after_s``
    seconds after `start`; `wake` brings the next one forward to now. ``jitter`` is the share of a
    pause by which it may be shorter, at random, so that workers do not all ask at one moment.

    An exception never ends the task. It is counted in `failures`, and logged with its traceback
    once an episode: the first of several in a row, and then that the task works again.

    `stop` ends the thread after the run under way. ``at_stop`` is called in that thread then, for
    what has to be done once more. ``clock`` is monotonic; ``wait`` waits for an event for so many
    seconds, and tells whether it was set.

    Start a task in the process that serves: threads do not survive the fork of gunicorn's master.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], float | None],
        interval_s: float,
        *,
        first_after_s: float = 0.0,
        jitter: float = 0.0,
        at_stop: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = _wait_for,
        rng: Callable[[], float] = random.random,
    ) -> None:
        if interval_s <= 0:
            raise ValueError(f"interval_s of {name} must be above 0, not {interval_s}")
        if not 0 <= jitter < 1:
            raise ValueError(f"jitter of {name} must be at least 0 and below 1, not {jitter}")
        self.name = name
        self.runs = self.failures = 0  # since the start
        self.failures_in_a_row = 0
        self._run, self._at_stop = run, at_stop
        self._interval_s, self._first_after_s, self._jitter = interval_s, first_after_s, jitter
        self._clock, self._wait, self._rng = clock, wait, rng
        self._wakeup = threading.Event()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()  # guards the change of _thread

    @property
    def is_started(self) -> bool:
        """The thread has been started, and may have ended since."""
        return self._thread is not None

    @property
    def is_stopping(self) -> bool:
        """`stop` has been called: a long run should end early."""
        return self._is_stopping.is_set()

    def start(self) -> None:
        """Start the thread; once only, further calls do nothing."""
        with self._start_lock:
            if self._thread is not None or self._is_stopping.is_set():
                return
            thread = threading.Thread(target=self.run_until_stopped, name=self.name, daemon=True)
            thread.start()
            self._thread = thread  # not before: where no thread can be had, the next call tries

    def wake(self) -> None:
        """Run now, or once more right after the run under way. Never waits."""
        if not self._wakeup.is_set():
            self._wakeup.set()

    def stop(self, timeout_s: float = 0.0) -> bool:
        """End the thread, and wait for that up to ``timeout_s``; return whether it has ended."""
        self._is_stopping.set()
        self._wakeup.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def run_until_stopped(self) -> None:
        """Run in the calling thread until `stop`; what the thread does, public for tests."""
        pause_s = self._first_after_s
        while not self._is_stopping.is_set():
            if pause_s > 0:
                self._wait(self._wakeup, pause_s)
                if self._is_stopping.is_set():
                    break
            self._wakeup.clear()  # before the run: what comes during it is another reason to run
            began = self._clock()
            asked_s = self._run_once(self._run)
            interval_s = self._interval_s if asked_s is None else asked_s
            if self._jitter:
                interval_s *= 1 - self._jitter * self._rng()
            pause_s = max(began + interval_s - self._clock(), MIN_PAUSE_S)
        if self._at_stop is not None:
            self._run_once(self._at_stop)

    def _run_once(self, function: Callable[[], object]) -> float | None:
        """Call ``function``; return its result where that is a number of seconds."""
        self.runs += 1
        try:
            result = function()
        except Exception:  # a bug must not end the task: see the class
            self.failures += 1
            self.failures_in_a_row += 1
            if self.failures_in_a_row == 1:
                _log.exception("%s failed; it goes on", self.name)
            return None
        if self.failures_in_a_row:
            _log.warning("%s works again after %d failures", self.name, self.failures_in_a_row)
            self.failures_in_a_row = 0
        return float(result) if isinstance(result, int | float) else None
