"""Rate-limit windows in a Redis or Valkey: exact over all workers and hosts, by its clock.

One script takes from all windows of a request: it looks at each of them first, so that a refusal
takes nothing, and no other script runs in between. Where the server does not answer in time,
`app.redis.client` gives up, and counts. What was used is summed up and sent by its background task.
"""

from __future__ import annotations

import itertools
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from app.concurrency.locks import uncontended_lock
from app.limits import redis_scripts as scripts
from app.limits.memory import Change, Reservation, Take, Taken, Window, WindowsState
from app.limits.periods import Calendar, Period
from app.redis.client import BestEffortClient

_log = logging.getLogger("app.access")
_TAKE_SHA = sha1(scripts.TAKE.encode(), usedforsecurity=False).hexdigest()
#: Windows with corrections that wait; those of others are dropped then, and counted.
MAX_WAITING = 10_000
#: Reservations that one charge settles; others expire by themselves.
MAX_SETTLED = 1000
#: What the names of claims end with.
_CLAIM = ":w"
#: Charges that are sent at once.
MAX_SENT = 500
#: Seconds for which a charge without a reply may be sent again, and counts once.
RESEND_S = 86_400


@dataclass(slots=True)
class _Charge:
    """What was used of a calendar's window, and the reservations that it replaces."""

    used: int = 0
    settled: list[str] = field(default_factory=list)


_Place = tuple[str, Period, int]  # a window's name, its kind of period, and the number of one


class SharedWindows:
    """``clock`` None: the server's own, which all workers share; another is for tests.

    What was used of a calendar's window is charged however long the server is away, and once. What
    is more or less used of a minute is dropped where it cannot be sent: a minute passes.

    The lock guards ``_changes`` and ``_charges``; nothing waits under it. ``_sending`` is used by
    the background task of ``remote`` alone.
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
        self._changes: dict[tuple[str, int], int] = {}  # of minutes: name and number → amount
        self._charges: dict[_Place, _Charge] = {}
        self._worker = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._sending: list[tuple[int, _Place, _Charge]] = []  # numbered; sent until it succeeds
        self.unchecked = self.dropped = 0  # takes without an answer; corrections lost
        self.remote = BestEffortClient(url, timeout, "limits", self._send)

    def take(self, takes: Sequence[Take], reservation: Reservation | None = None) -> Taken | None:
        self.remote.ready()
        now = self._clock() if self._clock else time.time()
        names: list[str] = []
        arguments: list[Any] = [now if self._clock else "", *(reservation or ("", 0))]
        for name, limit, period, cost in takes:
            names += self._keys(name, period)
            arguments += (limit, cost, period.seconds)
            calendar = isinstance(period, Calendar)
            arguments += (*period.span(now), period.keep_s) if calendar else (0, 0, 0, 0)
        reply = self.remote.call(lambda client: _evaluate(client, names, arguments))
        if reply is None:
            self.unchecked += 1
            return None
        now, counts = float(reply[1]), iter(reply[2:])
        return Taken(reply[0], [_window(take, counts, now) for take in takes])

    def change(self, changes: Sequence[Change], reservation: Reservation | None = None) -> None:
        with self._lock:
            for change in changes:
                if isinstance(change.period, Calendar):
                    self._charge(change, reservation)
                elif change.used != change.taken:
                    self._correct(change)
        self.remote.wake()

    def _correct(self, change: Change) -> None:
        place = (change.name, change.number)
        if place in self._changes or len(self._changes) < MAX_WAITING:
            self._changes[place] = self._changes.get(place, 0) + change.used - change.taken
        else:
            self.dropped += 1

    def _charge(self, change: Change, reservation: Reservation | None) -> None:
        place = (change.name, change.period, change.number)
        charge = self._charges.get(place)
        if charge is None:
            if len(self._charges) >= MAX_WAITING:
                self.dropped += 1
                return
            charge = self._charges[place] = _Charge()
        charge.used += change.used
        if reservation is not None and len(charge.settled) < MAX_SETTLED:
            charge.settled.append(f"r:{reservation.id}:{change.number}:{change.taken}")

    def claim(self, name: str, period: Period, number: int) -> bool:
        now = self._clock() if self._clock else time.time()
        seconds = math.ceil(period.span(now).end - now) + period.keep_s
        key = f"{self._prefix}{name}:{number}{_CLAIM}"
        self.remote.ready()
        reply = self.remote.call(lambda client: bool(client.set(key, 1, nx=True, ex=seconds)))
        return reply is not False

    def state(self) -> WindowsState:
        return WindowsState(self.unchecked, self.dropped, self.remote.breaker.is_open)

    def forget(self, prefix: str) -> int | None:
        """Delete the counters whose name has this prefix; return how many, None if not known."""

        def delete(client: Any) -> int:
            found = list(client.scan_iter(match=f"{self._prefix}{prefix}*", count=1000))
            for key in found:
                client.delete(key)
            # Reservations and claims are no counters.
            return sum(not key.endswith((b":r", _CLAIM.encode())) for key in found)

        self.remote.ready()
        return self.remote.call(delete)

    def reconcile(self, name: str, period: Calendar, used: int | None = None) -> int | None:
        """What was used of this day or month, without what requests in flight have taken.

        ``used``: count this in its place. None where the server does not answer.
        """
        now = self._clock() if self._clock else time.time()
        span = period.span(now)
        amount = "" if used is None else used
        arguments = [now if self._clock else "", span.number, amount]
        arguments.append(math.ceil(span.end) + period.keep_s)
        self.remote.ready()
        keys = self._keys(name, period)
        return self.remote.call(
            lambda client: int(client.eval(scripts.RECONCILE, 2, *keys, *arguments))
        )

    def close(self) -> None:
        self.remote.close()

    def _send(self, client: Any, is_due: bool) -> None:
        """Send what waits to be corrected and charged; the chores of ``remote``."""
        with self._lock:
            changes, self._changes = self._changes, {}
        try:
            self._run(client, [self._change_command(*place, n) for place, n in changes.items()])
        except BaseException:
            self.dropped += len(changes)
            raise
        while self._sending or self._charges:
            self._send_charges(client)

    def _send_charges(self, client: Any) -> None:
        """Send some charges. Those that were sent without a reply go first, as they were."""
        if not self._sending:
            with self._lock:
                places = list(itertools.islice(self._charges, MAX_SENT))
                self._sending = [
                    (next(self._numbers), place, self._charges.pop(place)) for place in places
                ]
        self._run(client, [self._charge_command(*sent) for sent in self._sending])
        self._sending = []

    def _run(self, client: Any, commands: Sequence[Sequence[Any]]) -> None:
        refused = _evaluate_all(client, commands)
        if refused:
            self.dropped += len(refused)
            _log.warning("limits: the server refused %d corrections: %s", len(refused), refused[0])

    def _change_command(self, name: str, number: int, amount: int) -> list[Any]:
        return [scripts.CHANGE, 1, self._prefix + name, number, amount]

    def _charge_command(self, sent: int, place: _Place, charge: _Charge) -> list[Any]:
        name, period, number = place
        now = self._clock() if self._clock else time.time()
        forget = math.ceil(period.span(now).end) + period.keep_s
        command: list[Any] = [scripts.CHARGE, 2, *self._keys(name, period)]
        command += [now if self._clock else "", self._worker, sent, number, charge.used]
        return [*command, forget, RESEND_S, *charge.settled]

    def _keys(self, name: str, period: Period) -> tuple[str, str]:
        """Of a window's counter and its reservations."""
        key = self._prefix + name
        return key, key if period.slides else f"{key}:r"


def _evaluate_all(client: Any, commands: Sequence[Sequence[Any]]) -> list[Exception]:
    """Evaluate scripts; the errors of those that the server will never take.

    Raises what any other failure is: then some may have been evaluated, and others not.
    """
    if hasattr(client, "mget_nonatomic"):  # a cluster's pipelines run no scripts
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(client.eval(*command))
            except ResponseError as error:
                replies.append(error)
    else:
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.eval(*command)
        replies = pipe.execute(raise_on_error=False) if commands else []
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    for failed in errors:
        # Others have classes of their own: read-only, out of memory, loading, moved.
        if type(failed) is not ResponseError or str(failed).startswith(_PASSING):
            raise failed
    return errors


#: What a server refuses for a while: it cannot save, runs a script, or misses its replicas.
_PASSING = ("MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")


def _window(take: Take, counts: Iterator[int], now: float) -> Window:
    index, current, before = next(counts), next(counts), next(counts)
    _, start, end = take.period.span(now)
    return Window(take.limit, index, start, end, current, before, now, take.period.slides)


def _evaluate(client: Any, names: list[str], numbers: list[Any]) -> list[Any]:
    reply: list[Any]
    try:
        reply = client.evalsha(_TAKE_SHA, len(names), *names, *numbers)
    except NoScriptError:  # a server that has just started
        reply = client.eval(scripts.TAKE, len(names), *names, *numbers)
    return reply
