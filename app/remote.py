"""A Redis or Valkey that answers may do without: asked within its time, or not at all.

`Remote.call` is for requests: what is not answered within ``timeout`` is lost, and after some
losses nobody asks until a probe has found the server well. Connecting, probing and all that no
caller waits for is done by one thread (under gevent: greenlet) that starts when first needed.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from redis.exceptions import ConnectionError as Disconnected

from app.breaker import Breaker
from app.valkey import budget, connect, shown

_log = logging.getLogger("app.remote")
T = TypeVar("T")

#: Seconds that the thread gives a connect and its chores: nobody waits for them.
PATIENCE = 1.0
#: Seconds between two rounds of chores that nothing has asked for.
ROUND = 1.0


class Chore(Protocol):
    """What is done in the background, with a client; may raise, for then it is not done."""

    def __call__(self, client: Any, due: bool) -> object:
        """``due``: a round has passed; else somebody has called `Remote.wake`."""


class Remote:
    """``what`` is lost while the server does not answer: a word for the log."""

    def __init__(
        self,
        url: str,
        timeout: float,
        what: str,
        chore: Chore = lambda client, due: None,
        breaker: Breaker | None = None,
    ) -> None:
        self._url, self._timeout, self._what, self._chore = url, timeout, what, chore
        self.breaker = breaker or Breaker()
        self.calls = self.failures = self.skipped = 0  # counts for reports; not exact under threads
        self._client: Any = None
        self._wake = threading.Event()
        self._tried = threading.Event()  # the first probe has been answered, or not
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        """The address without its secrets."""
        return shown(self._url)

    def call(self, ask: Callable[[Any], T]) -> T | None:
        """What ``ask`` makes of a client, or None: not asked, not answered, or not in time."""
        if self.breaker.open or not self._tried.is_set():
            self.skipped += 1
            return None
        self.calls += 1
        try:
            with budget.of(self._timeout):
                answer = ask(self._client)
        except Exception as error:  # whatever it was, no answer is lost for it
            self.failures += 1
            self._failed(error)
            return None
        self.breaker.worked()
        return answer

    def ready(self) -> bool:
        """Whether it is known how the server is; the first who ask wait for that, in their time.

        Then `call` asks; before, it does not, lest a caller wait twice.
        """
        if self._tried.is_set():
            return True
        self.start()
        return self._tried.wait(self._timeout)

    def wake(self) -> None:
        """Have the chores done now. Never waits."""
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self.start()

    def start(self) -> None:
        """Start the thread. Not before a request: gunicorn's master forks."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._tend, name=f"remote-{self._what}", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)

    def close(self) -> None:
        """Do the chores once more and end the thread; waits no longer than they may take."""
        self._closing.set()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._wake.set()
            self._thread.join(2 * PATIENCE)

    # The thread

    def _tend(self) -> None:
        due_at = 0.0  # the first round is due at once, before any request is answered
        while not self._closing.is_set():
            if self._client is None or self.breaker.open:
                self._probe()
            if not self.breaker.open:
                now = time.monotonic()
                due = now >= due_at
                if due:
                    due_at = now + ROUND
                self._wake.clear()
                self._work(due)
            self._tried.set()
            if self.breaker.open:
                self._closing.wait(self.breaker.pause)
            else:
                self._wake.wait(max(due_at - time.monotonic(), 0.0))
        if self._client is not None:
            if not self.breaker.open:
                self._work(due=False)
            self._client.close()

    def _probe(self) -> None:
        try:
            if self._client is None:
                self._client = connect(self._url, PATIENCE)
            self._client.ping()  # connects, however long that takes
            with budget.of(self._timeout):
                self._client.ping()
        except Exception as error:
            self._failed(error, at_once=True)
            return
        if self.breaker.proved():
            _log.warning("%s: %s answers again", self._what, self.url)

    def _work(self, due: bool) -> None:
        try:
            self._chore(self._client, due)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception, at_once: bool = False) -> None:
        # A refused or broken connection says more than an answer that is late.
        if self.breaker.failed(at_once or isinstance(error, Disconnected)):
            _log.warning(
                "%s: %s is left alone until it answers: %s: %s",
                self._what,
                self.url,
                type(error).__name__,
                error,
            )
