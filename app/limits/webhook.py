"""Notifications by webhook: JSON bodies, signed as the Standard Webhooks specification says.

Source: github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. The
header ``webhook-signature`` is ``v1,`` and the base64 of an HMAC-SHA256 over ``id.timestamp.body``;
libraries for many languages check it. The id is the same for each attempt, so that a receiver can
drop what it has already.

A thread of its own sends. What waits for it is bounded; a request only appends to the queue.
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

from app.config import NotifySettings

_log = logging.getLogger("app.notify")

#: Messages that wait; more are dropped, and counted.
MAX_WAITING = 1000
#: Attempts at one message: with the waits below they span about two minutes.
MAX_ATTEMPTS = 8
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0
#: Seconds for which the end of the process waits for what is still to be sent.
SHUTDOWN_TIMEOUT_S = 5.0
#: Answers below 500 after which another attempt may succeed.
RETRIED_STATUSES = frozenset((408, 425, 429))
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret in base64 begins with


class NotifyState(NamedTuple):
    """Messages since the start of this process, by how they ended."""

    sent: int
    failed: int
    dropped: int


class _Message(NamedTuple):
    id: str
    body: bytes


class Webhook:
    """Sends messages to ``NOTIFY["url"]`` in their order. `start` it in the process that serves.

    The condition guards the queue and the counters. ``wait`` returns True where the process ends.
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
        self._condition = threading.Condition()
        self._waiting: deque[_Message] = deque()
        self._sent = self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Try what waits once more each, for `SHUTDOWN_TIMEOUT_S` at most."""
        with self._condition:
            self._stop.set()
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(SHUTDOWN_TIMEOUT_S)

    def state(self) -> NotifyState:
        with self._condition:
            return NotifyState(self._sent, self._failed, self._dropped)

    def send(self, message_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Append a message to the queue; never waits for the receiver."""
        message = self._message(message_id, kind, data)
        with self._condition:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(message)
                self._condition.notify_all()
                return
            self._dropped += 1
        _log.error("notification %s is dropped: %d others wait", message_id, MAX_WAITING)

    def check(self) -> str:
        """Send a message of the type ``check``, once; the problem, empty if there is none."""
        with requests.Session() as session:
            problem, _ = self._post(session, self._message(f"check-{uuid4()}", "check", {}))
        return problem

    def _message(self, message_id: str, kind: str, data: Mapping[str, Any]) -> _Message:
        at = datetime.fromtimestamp(self._clock(), UTC)
        event = {"type": kind, "timestamp": at.isoformat(), "data": data}
        return _Message(message_id, json.dumps(event).encode())

    def _run(self) -> None:
        with requests.Session() as session:
            while (message := self._next()) is not None:
                try:
                    is_sent = self._deliver(session, message)
                except Exception:  # a bug must not end the thread
                    _log.exception("notification %s failed", message.id)
                    is_sent = False
                with self._condition:
                    self._sent += is_sent
                    self._failed += not is_sent

    def _next(self) -> _Message | None:
        """The next message, waited for; None: the process ends, and none is left."""
        with self._condition:
            while not self._waiting:
                if self._stop.is_set():
                    return None
                self._condition.wait()
            return self._waiting.popleft()

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
        """Send once; the problem, empty if there is none, and whether a retry may help."""
        stamp = str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": sign(self._secret, message.id, stamp, message.body),
        }
        try:
            # Streamed and not read: of the answer only the status counts, however long it is.
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
            return type(error).__name__, True  # its text may hold the address
        if 200 <= status < 300:
            return "", False
        return f"status {status}", status >= 500 or status in RETRIED_STATUSES


def secret_bytes(secret: str) -> bytes:
    """The key of the HMAC: after ``whsec_`` base64, else the text. Raises ValueError."""
    if secret.startswith(_SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    return secret.encode()


def sign(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of the header ``webhook-signature``."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret, signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def backoff(attempt: int) -> float:
    """Seconds before the next attempt: doubled each time, with jitter down to half."""
    most = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt)
    jittered: float = random.uniform(0.5, 1) * most
    return jittered
