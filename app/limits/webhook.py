"""Notifications by webhook: JSON bodies, signed as the Standard Webhooks specification says.

Source: github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. The
header ``webhook-signature`` is ``v1,`` and the base64 of an HMAC-SHA256 over ``id.timestamp.body``;
libraries for many languages check it. The id is the same for each attempt, so that a receiver can
drop what it has already.

A background task sends. Its queue is bounded; a request only appends to the queue.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

import requests

from app.concurrency.periodic import PeriodicTask
from app.config import NotifySettings

_log = logging.getLogger("app.notify")

#: Messages in the queue; further ones are dropped, and counted.
MAX_WAITING = 1000
#: Attempts to send one message: with the waits below they span about two minutes.
MAX_ATTEMPTS = 8
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
#: Seconds for which the end of the process waits for messages still in the queue.
SHUTDOWN_TIMEOUT_S = 5.0
#: Seconds between two looks at the queue; a new message wakes the task at once.
QUEUE_INTERVAL_S = 60.0
#: Statuses below 500 after which another attempt may succeed.
RETRIED_STATUSES = frozenset((408, 425, 429))
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret in base64


class NotifyState(NamedTuple):
    """Counts of messages since the start of this process, by result."""

    sent: int
    failed: int
    dropped: int


class _Message(NamedTuple):
    id: str
    body: bytes


class Webhook:
    """Sends messages to ``NOTIFY["url"]`` in order. `start` it in the process that serves.

    The lock guards the queue and the counters. ``wait`` waits before a retry for so many seconds,
    and returns True if the process ends.
    """

    def __init__(
        self,
        settings: NotifySettings,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._secret = secret_bytes(settings.secret)
        self._clock = clock
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._lock = threading.Lock()
        self._waiting: deque[_Message] = deque()
        self._sent = self._failed = self._dropped = 0
        send = self._send_waiting
        self._task = PeriodicTask("notify", send, QUEUE_INTERVAL_S, at_stop=send)

    def start(self) -> None:
        self._task.start()

    def close(self) -> None:
        """Try each message in the queue once more, for at most `SHUTDOWN_TIMEOUT_S`."""
        self._stop.set()
        self._task.stop(SHUTDOWN_TIMEOUT_S)

    def state(self) -> NotifyState:
        with self._lock:
            return NotifyState(self._sent, self._failed, self._dropped)

    def send(self, message_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Append a message to the queue; never waits for the receiver."""
        message = self._message(message_id, kind, data)
        with self._lock:
            is_full = len(self._waiting) >= MAX_WAITING
            if is_full:
                self._dropped += 1
            else:
                self._waiting.append(message)
        if is_full:
            _log.error("notification %s is dropped: %d others wait", message_id, MAX_WAITING)
        else:
            self._task.wake()

    def check(self) -> str:
        """Send a message of the type ``check``, once; the problem, empty if there is none."""
        with requests.Session() as session:
            problem, _ = self._post(session, self._message(f"check-{uuid4()}", "check", {}))
        return problem

    def _message(self, message_id: str, kind: str, data: Mapping[str, Any]) -> _Message:
        at = datetime.fromtimestamp(self._clock(), UTC)
        event = {"type": kind, "timestamp": at.isoformat(), "data": data}
        return _Message(message_id, json.dumps(event).encode())

    def _send_waiting(self) -> None:
        with requests.Session() as session:
            while self._waiting:
                message = self._waiting.popleft()
                try:
                    is_sent = self._deliver(session, message)
                except Exception:  # a bug in one message must not delay the others
                    _log.exception("notification %s failed", message.id)
                    is_sent = False
                with self._lock:
                    self._sent += is_sent
                    self._failed += not is_sent

    def _deliver(self, session: requests.Session, message: _Message) -> bool:
        for attempt in range(MAX_ATTEMPTS):
            problem, may_retry = self._post(session, message)
            if not problem:
                return True
            if not may_retry or attempt == MAX_ATTEMPTS - 1 or self._wait(backoff(attempt)):
                break
        _log.error("notification %s is not delivered: %s", message.id, problem)
        return False

    def _post(self, session: requests.Session, message: _Message) -> tuple[str, bool]:
        """Send a message once; return the problem, empty if none, and whether a retry may help."""
        stamp = str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": sign(self._secret, message.id, stamp, message.body),
        }
        try:
            # Streamed and not read: only the status of the response is used.
            with session.post(
                self._settings.url,
                data=message.body,
                headers=headers,
                timeout=self._settings.timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                status = response.status_code
        except requests.RequestException as error:
            return type(error).__name__, True  # the text of the error may hold the URL
        if 200 <= status < 300:
            return "", False
        return f"status {status}", status >= 500 or status in RETRIED_STATUSES


def secret_bytes(secret: str) -> bytes:
    """Return the HMAC key: the base64 after ``whsec_``, else the text itself. Raises ValueError."""
    if secret.startswith(_SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    return secret.encode()


def sign(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret, signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def backoff(attempt: int) -> float:
    """Return the seconds before the next attempt: doubled each time, times 0.5 to 1 at random."""
    max_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt)
    jittered_s: float = random.uniform(0.5, 1) * max_s
    return jittered_s
