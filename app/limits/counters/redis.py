"""Count usage in a Redis or Valkey: exact over all workers and hosts, by the server's clock.

One script takes from all windows of a request: it checks each of them before it changes any, and
the server runs one script at a time. If the server does not answer in time, `app.redis.client`
gives up and counts that. Corrections are summed up and sent by the client's background task.
"""

from __future__ import annotations

import itertools
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.concurrency.locks import uncontended_lock
from app.limits.counters import redis_scripts as scripts
from app.limits.counters.windows import Change, Take, Taken, UsageReservation, Window, WindowsState
from app.limits.periods import CONCURRENT, Calendar, Period, Span
from app.limits.redis_evaluation import Script, evaluate_all
from app.redis.client import BestEffortClient

_log = logging.getLogger("app.limits")
_TAKE = Script(scripts.TAKE)
#: Windows with unsent corrections; corrections of further windows are dropped, and counted.
MAX_WAITING = 10_000
#: Reservations that one charge settles; further ones expire.
MAX_SETTLED = 1000
#: The suffix of the names of claims.
_CLAIM = ":w"
#: Charges in one batch sent to the server.
MAX_SENT = 500
#: Seconds for which a charge without a reply may be sent again without being counted twice.
RESEND_S = 86_400


@dataclass(slots=True)
class _Charge:
    """Usage of a window of the calendar, and the reservations that it replaces."""

    used: int = 0
    settled: list[str] = field(default_factory=list)


#: A window's name, its kind of period, and the period's number.
_WindowId = tuple[str, Period, int]


class SharedWindows:
    """`Windows` in a Redis or Valkey. ``clock`` None: the server's, which all workers share.

    Usage of days and months is charged exactly once, however long the server does not answer.
    Corrections of a minute are dropped if they cannot be sent: they matter for a minute only. The
    end of a concurrent request is sent at once: a caller that sends one request after another must
    not be refused by another worker.

    The lock guards ``_changes``, ``_charges`` and ``_ended``; nothing waits under it.
    ``_sending`` is used by the background task of ``remote`` alone.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "embeddings",
        timeout: float = 0.05,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._prefix = f"{namespace}:limits:2:"
        self._clock = clock
        self._lock = uncontended_lock()
        self._changes: dict[
            tuple[str, int], int
        ] = {}  # of minutes: (name, period's number) → amount
        self._charges: dict[_WindowId, _Charge] = {}
        #: Counters and ids of concurrent requests whose end got no reply.
        self._ended: list[tuple[str, str]] = []
        self._worker = secrets.token_hex(8)
        self._charge_numbers = itertools.count(1)
        self._sending: list[tuple[int, _WindowId, _Charge]] = []  # numbered; sent until it succeeds
        self.unchecked = self.dropped = 0  # takes without a reply; corrections lost
        self.remote = BestEffortClient(url, timeout, "limits", self._send)

    def take(
        self, takes: Sequence[Take], reservation: UsageReservation | None = None
    ) -> Taken | None:
        self.remote.ready()
        now = self._clock() if self._clock else time.time()
        redis_keys: list[str] = []
        arguments: list[Any] = [now if self._clock else "", *(reservation or ("", 0))]
        for name, limit, period, cost in takes:
            redis_keys += self._redis_keys(name, period)
            arguments += (limit, cost, period.seconds)
            is_calendar = isinstance(period, Calendar)
            arguments += (*period.span(now), period.keep_s) if is_calendar else (0, 0, 0, 0)
        reply = self.remote.call(lambda client: _TAKE.evaluate(client, redis_keys, arguments))
        if reply is None:
            self.unchecked += 1
            return None
        now, counts = float(reply[1]), iter(reply[2:])
        return Taken(reply[0], [_window(take, counts, now) for take in takes])

    def change(
        self, changes: Sequence[Change], reservation: UsageReservation | None = None
    ) -> None:
        with self._lock:
            for change in changes:
                if isinstance(change.period, Calendar):
                    self._charge(change, reservation)
                elif change.period is not CONCURRENT and change.used != change.taken:
                    self._correct(change)
        if reservation is not None:
            for change in changes:
                if change.period is CONCURRENT:
                    self._end(change.name, reservation.id)
        self.remote.wake()

    def _end(self, name: str, request_id: str) -> None:
        """Remove a request from the concurrent ones of a counter; it may wait for the server."""
        redis_key = self._prefix + name
        if self.remote.call(lambda client: int(client.zrem(redis_key, request_id))) is None:
            with self._lock:
                if len(self._ended) < MAX_WAITING:
                    self._ended.append((redis_key, request_id))
                else:
                    self.dropped += 1  # it expires

    def _correct(self, change: Change) -> None:
        minute = (change.name, change.period_number)
        if minute in self._changes or len(self._changes) < MAX_WAITING:
            self._changes[minute] = self._changes.get(minute, 0) + change.used - change.taken
        else:
            self.dropped += 1

    def _charge(self, change: Change, reservation: UsageReservation | None) -> None:
        window_id = (change.name, change.period, change.period_number)
        charge = self._charges.get(window_id)
        if charge is None:
            if len(self._charges) >= MAX_WAITING:
                self.dropped += 1
                return
            charge = self._charges[window_id] = _Charge()
        charge.used += change.used
        if reservation is not None and len(charge.settled) < MAX_SETTLED:
            charge.settled.append(f"r:{reservation.id}:{change.period_number}:{change.taken}")

    def claim(self, name: str, period: Period, period_number: int) -> bool:
        now = self._clock() if self._clock else time.time()
        seconds = math.ceil(period.span(now).end - now) + period.keep_s
        redis_key = f"{self._prefix}{name}:{period_number}{_CLAIM}"
        self.remote.ready()
        reply = self.remote.call(lambda client: bool(client.set(redis_key, 1, nx=True, ex=seconds)))
        return reply is not False

    def state(self) -> WindowsState:
        return WindowsState(self.unchecked, self.dropped, self.remote.breaker.is_open)

    def forget(self, prefix: str) -> int | None:
        """Delete the counters whose name has this prefix; return how many, None without a reply."""

        def delete(client: Any) -> int:
            found = list(client.scan_iter(match=f"{self._prefix}{prefix}*", count=1000))
            for redis_key in found:
                client.delete(redis_key)
            # Reservations and claims are deleted too, and not counted.
            return sum(not k.endswith((b":r", _CLAIM.encode())) for k in found)

        self.remote.ready()
        return self.remote.call(delete)

    def reconcile(
        self, name: str, period: Calendar, span: Span, used: int | None = None
    ) -> int | None:
        """Return the usage of one day or month, without reservations; None without a reply.

        ``span`` is that day or month. ``used`` replaces its usage, if given; reservations stay
        counted.
        """
        now = self._clock() if self._clock else ""
        amount = "" if used is None else used
        arguments = [now, span.number, amount, math.ceil(span.end) + period.keep_s]
        self.remote.ready()
        redis_keys = self._redis_keys(name, period)
        return self.remote.call(
            lambda client: int(client.eval(scripts.RECONCILE, 2, *redis_keys, *arguments))
        )

    def close(self) -> None:
        self.remote.close()

    def _send(self, client: Any, is_due: bool) -> None:
        """Send corrections and charges; called by the background task of ``remote``."""
        with self._lock:
            changes, self._changes = self._changes, {}
        try:
            self._run(client, [self._change_command(*minute, n) for minute, n in changes.items()])
        except BaseException:
            self.dropped += len(changes)
            raise
        ended = self._ended[:]  # others only append
        self._run(client, [[scripts.END, 1, *sent] for sent in ended])
        with self._lock:
            del self._ended[: len(ended)]
        while self._sending or self._charges:
            self._send_charges(client)

    def _send_charges(self, client: Any) -> None:
        """Send one batch of charges: the batch that got no reply, unchanged, or a new one."""
        if not self._sending:
            with self._lock:
                ids = list(itertools.islice(self._charges, MAX_SENT))
                self._sending = [(next(self._charge_numbers), i, self._charges.pop(i)) for i in ids]
        self._run(client, [self._charge_command(*sent) for sent in self._sending])
        self._sending = []

    def _run(self, client: Any, commands: Sequence[Sequence[Any]]) -> None:
        refused = evaluate_all(client, commands)
        if refused:
            self.dropped += len(refused)
            _log.warning("limits: the server refused %d corrections: %s", len(refused), refused[0])

    def _change_command(self, name: str, period_number: int, amount: int) -> list[Any]:
        return [scripts.CHANGE, 1, self._prefix + name, period_number, amount]

    def _charge_command(
        self, charge_number: int, window_id: _WindowId, charge: _Charge
    ) -> list[Any]:
        name, period, period_number = window_id
        now = self._clock() if self._clock else time.time()
        remove_at = math.ceil(period.span(now).end) + period.keep_s
        command: list[Any] = [scripts.CHARGE, 2, *self._redis_keys(name, period)]
        command += [now if self._clock else "", self._worker, charge_number, period_number]
        return [*command, charge.used, remove_at, RESEND_S, *charge.settled]

    def _redis_keys(self, name: str, period: Period) -> tuple[str, str]:
        """Return the Redis keys of a window's counter and of its reservations."""
        redis_key = self._prefix + name
        return redis_key, f"{redis_key}:r" if period.is_calendar else redis_key


def _window(take: Take, counts: Iterator[int], now: float) -> Window:
    number, current, before = next(counts), next(counts), next(counts)
    _, start, end = take.period.span(now)
    return Window(take.limit, number, start, end, current, before, now, take.period.is_calendar)
