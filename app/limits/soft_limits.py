"""Soft limits: a warning when a key has used the share ``warn_at`` of a quota or a budget.

A warning is a log line, a metric and, with ``NOTIFY``, a webhook; once for each limit in each
period. A request only compares two numbers and appends to a queue. A background task warns: it asks
the Redis server that counts whether another worker has warned already. Without such a server each
worker counts its share of a limit, and warns of that share.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.concurrency.periodic import PeriodicTask
from app.limits.counters.windows import Window, Windows
from app.limits.key_labels import KeyLabels
from app.limits.periods import Calendar

if TYPE_CHECKING:
    from app.limits.rules import Rule
    from app.limits.webhook import NotifyState, Webhook

_log = logging.getLogger("app.limits")

#: Limits whose last warning is remembered. Bounded, as tokens may name any number of callers.
MAX_REMEMBERED = 10_000
#: Warnings in the queue; a further one replaces the oldest.
MAX_WAITING = 1000
#: A count below this share of the soft limit has been reset, so the limit may warn again.
RESET_SHARE = 0.5
#: Seconds between two looks at the queue; a new warning wakes the task at once.
QUEUE_INTERVAL_S = 60.0
#: Seconds for which the end of the process waits for warnings still in the queue.
SHUTDOWN_TIMEOUT_S = 1.0


class ReachedLimit(NamedTuple):
    """A limit whose soft limit was reached, and its window at that time."""

    rule: Rule
    window: Window


class SoftLimits:
    """Compares what keys have used with their soft limits. `start` it in the process that serves.

    The lock guards ``_warned`` and ``_reached``; nothing waits under it.
    """

    def __init__(
        self, windows: Windows, webhook: Webhook | None = None, keys: Iterable[str] = ()
    ) -> None:
        self._windows = windows
        self._webhook = webhook
        self._labels = KeyLabels(keys)
        self._lock = uncontended_lock()
        self._warned: dict[str, int] = {}  # counter → number of the last period warned of
        self._waiting: deque[ReachedLimit] = deque(maxlen=MAX_WAITING)
        self._reached: Counter[tuple[str, str]] = Counter()
        warn = self._warn_of_waiting
        self._task = PeriodicTask("soft-limits", warn, QUEUE_INTERVAL_S, at_stop=warn)

    @property
    def reached(self) -> Mapping[tuple[str, str], int]:
        """The number of warnings of this process, by (label of a key, limit)."""
        with self._lock:
            return dict(self._reached)

    def notified(self) -> NotifyState | None:
        """Return the counts of notifications; None if ``NOTIFY`` is not set."""
        return self._webhook.state() if self._webhook is not None else None

    def start(self) -> None:
        """Start the background task, and that of the webhook."""
        if self._webhook is not None:
            self._webhook.start()
        self._task.start()

    def close(self) -> None:
        """Warn of the limits in the queue, then end the background tasks."""
        self._task.stop(SHUTDOWN_TIMEOUT_S)
        if self._webhook is not None:
            self._webhook.close()

    def check(self, rules: Sequence[Rule], windows: Sequence[Window]) -> None:
        """Queue a warning for each limit that has reached its soft limit in this period."""
        for rule, window in zip(rules, windows, strict=True):
            if rule.warn_at is None:
                continue
            soft = rule.warn_at * window.limit
            if window.current >= soft:
                if self._is_first_warning(rule.name, window.period_number):
                    self._waiting.append(ReachedLimit(rule, window))
                    self._task.wake()
            elif window.current < RESET_SHARE * soft:
                self._warned.pop(rule.name, None)

    def _is_first_warning(self, name: str, period_number: int) -> bool:
        with self._lock:
            if self._warned.get(name, -1) >= period_number:
                return False
            if len(self._warned) >= MAX_REMEMBERED:
                self._warned.clear()
            self._warned[name] = period_number
            return True

    def _warn_of_waiting(self) -> None:
        while self._waiting:
            reached = self._waiting.popleft()
            try:
                self._warn(*reached)
            except Exception:  # a bug in one warning must not delay the others
                _log.exception("the warning of a soft limit failed")

    def _warn(self, rule: Rule, window: Window) -> None:
        if not self._windows.claim(rule.name, rule.period, window.period_number):
            return
        data = described(rule, window)
        with self._lock:
            self._reached[self._labels.label(rule.key_name), rule.setting] += 1
        _log.warning(
            "soft limit: key %r has used %.0f %% of %s (%s); it resets at %s",
            *(data["key"], 100 * data["used_share"], data["limit"], data["amount"]),
            data["resets"],
        )
        if self._webhook is not None:
            self._webhook.send(_id(rule, window), "soft_limit.reached", data)


def described(rule: Rule, window: Window) -> dict[str, Any]:
    """Return the data of a notification. ``used_share`` is rounded down: 1 means used up."""
    assert isinstance(rule.period, Calendar)  # noqa: S101 - for mypy: minutes have no soft limit
    begin, end = (
        datetime.fromtimestamp(at, rule.period.zone).isoformat()
        for at in (window.start, window.end)
    )
    return {
        "key": rule.key_name,
        "limit": rule.setting,
        "amount": rule.amount(rule.limit),
        "warn_at": rule.warn_at,
        "used_share": math.floor(1000 * window.current / window.limit) / 1000,
        "period_start": begin,
        "resets": end,
    }


def _id(rule: Rule, window: Window) -> str:
    """Return the id of a message, the same in every worker: receivers can drop duplicates."""
    text = f"{rule.key_name}\0{rule.setting}\0{window.start}"
    return f"msg_{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
