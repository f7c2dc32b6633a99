"""Soft limits: a warning when a key has used the share ``warn_at`` of a quota or a budget.

A warning is a log line, a metric and, with ``NOTIFY``, a webhook; once for each limit in each
period. A request compares two numbers. A thread does the rest: it asks the server that counts
whether another worker has warned already. Without such a server each worker counts its share of a
limit, and warns of that.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.limits.key_labels import KeyLabels
from app.limits.memory import Window, Windows
from app.limits.periods import Calendar

if TYPE_CHECKING:
    from app.limits.kinds import Rule
    from app.limits.webhook import NotifyState, Webhook

_log = logging.getLogger("app.access")

#: Limits whose last warning is remembered: more than keys have, and bounded for tokens' owners.
MAX_REMEMBERED = 10_000
#: Warnings that wait for the thread.
MAX_WAITING = 1000
#: Share of the soft limit below which a counter was reset, so that the limit may warn anew.
RESET_SHARE = 0.5


class ReachedLimit(NamedTuple):
    """A soft limit that was reached."""

    rule: Rule
    window: Window


class SoftLimits:
    """Compares what keys have used with their soft limits. `start` it in the process that serves.

    The lock guards ``_warned``, the condition the queue and ``_reached``; nothing waits under the
    first.
    """

    def __init__(
        self, windows: Windows, webhook: Webhook | None = None, keys: Iterable[str] = ()
    ) -> None:
        self._windows = windows
        self._webhook = webhook
        self._labels = KeyLabels(keys)
        self._lock = uncontended_lock()
        self._warned: dict[str, int] = {}  # a counter's name → the number of the period
        self._condition = threading.Condition()
        self._waiting: deque[ReachedLimit] = deque(maxlen=MAX_WAITING)
        self._reached: Counter[tuple[str, str]] = Counter()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="soft-limits", daemon=True)

    @property
    def reached(self) -> Mapping[tuple[str, str], int]:
        """(label of a key, limit) → warnings of this process."""
        with self._condition:
            return dict(self._reached)

    def notified(self) -> NotifyState | None:
        """What became of the notifications; None where ``NOTIFY`` is not set."""
        return self._webhook.state() if self._webhook is not None else None

    def start(self) -> None:
        if self._webhook is not None:
            self._webhook.start()
        self._thread.start()

    def close(self) -> None:
        """Hand over what waits, then end the webhook's thread."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(1.0)
        if self._webhook is not None:
            self._webhook.close()

    def check(self, rules: Sequence[Rule], windows: Sequence[Window]) -> None:
        """Queue a warning for each limit that has reached its soft limit in this period."""
        for rule, window in zip(rules, windows, strict=True):
            if rule.warn_at is None:
                continue
            soft = rule.warn_at * window.limit
            if window.current >= soft:
                if self._is_first(rule.name, window.index):
                    self._queue(ReachedLimit(rule, window))
            elif window.current < RESET_SHARE * soft:
                self._warned.pop(rule.name, None)

    def _is_first(self, name: str, number: int) -> bool:
        with self._lock:
            if self._warned.get(name, -1) >= number:
                return False
            if len(self._warned) >= MAX_REMEMBERED:
                self._warned.clear()
            self._warned[name] = number
            return True

    def _queue(self, warning: ReachedLimit) -> None:
        with self._condition:
            self._waiting.append(warning)
            self._condition.notify_all()

    def _run(self) -> None:
        while (warning := self._next()) is not None:
            try:
                self._warn(*warning)
            except Exception:  # a bug must not end the thread
                _log.exception("a soft limit met a bug")

    def _next(self) -> ReachedLimit | None:
        with self._condition:
            while not self._waiting:
                if self._is_stopped:
                    return None
                self._condition.wait()
            return self._waiting.popleft()

    def _warn(self, rule: Rule, window: Window) -> None:
        if not self._windows.claim(rule.name, rule.period, window.index):
            return
        found = described(rule, window)
        with self._condition:
            self._reached[self._labels.label(rule.key), rule.setting] += 1
        _log.warning(
            "soft limit: key %r has used %.0f %% of %s (%s); it resets at %s",
            *(found["key"], 100 * found["used_share"], found["limit"], found["amount"]),
            found["resets"],
        )
        if self._webhook is not None:
            self._webhook.send(_id(rule, window), "soft_limit.reached", found)


def described(rule: Rule, window: Window) -> dict[str, Any]:
    """What a notification says. ``used_share`` is rounded down: 1 means used up."""
    assert isinstance(rule.period, Calendar)  # noqa: S101 - for mypy: minutes have no soft limit
    begin, end = (
        datetime.fromtimestamp(at, rule.period.zone).isoformat()
        for at in (window.start, window.end)
    )
    return {
        "key": rule.key,
        "limit": rule.setting,
        "amount": rule.amount(rule.limit),
        "warn_at": rule.warn_at,
        "used_share": math.floor(1000 * window.current / window.limit) / 1000,
        "period_start": begin,
        "resets": end,
    }


def _id(rule: Rule, window: Window) -> str:
    """The same in every worker, so that a receiver can drop a second one."""
    text = f"{rule.key}\0{rule.setting}\0{window.start}"
    return f"msg_{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
