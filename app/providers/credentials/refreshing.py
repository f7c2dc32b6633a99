"""Credentials that expire, kept fresh.

`Refreshing` asks for a new one before the old one expires, in a thread of its own (a greenlet under
gevent): no request waits for it, save those that come before there is any.
"""

from __future__ import annotations

import copy
import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from app.concurrency.deadline import CALL_DEADLINE, Deadline
from app.errors import CredentialsRefused, ProviderError, ProviderTimeout, ProviderUnavailable

_log = logging.getLogger("app.providers")
_T = TypeVar("_T")
#: Seconds before its end in which a credential is replaced. Google's metadata servers hand out the
#: same token until four minutes before (google.auth's REFRESH_THRESHOLD): no use to ask earlier.
_EARLY = 225.0
#: Seconds between attempts after so many failures: 1, 2, 4 … and never more than this.
_LONGEST_PAUSE = 60.0
_MAX_DOUBLINGS = 6  # of that pause: beyond 1,023 there is no float
_SENDABLE = re.compile(r"[!-~]+")
#: Seconds that a call waits for a fetch, at most.
MAX_WAIT_S = 60.0
#: Seconds between looks at the deadline of the call, which may be cancelled meanwhile.
LOOK_S = 0.05


class _Time(NamedTuple):
    """One moment by two clocks: see `Refreshing`."""

    of_day: float
    monotonic: float

    def after(self, seconds: float) -> _Time:
        return _Time(self.of_day + seconds, self.monotonic + seconds)

    def has_come(self, now: _Time) -> bool:
        """Whether one of the clocks says so."""
        return now.of_day >= self.of_day or now.monotonic >= self.monotonic


class Refreshing(Generic[_T]):
    """The result of ``fetch``, as long as it is valid.

    ``fetch`` returns a credential and when it expires, in seconds of ``clock``; it does I/O, with
    time limits of its own, and raises a `ProviderError` that says what went wrong, or anything.
    ``clock`` may be set back, and ``monotonic`` stands still while the machine is suspended: a time
    has come as soon as one of them says so.
    One fetch runs at a time, for all callers. ``early``: seconds before the end in which it
    is replaced, though never in the first half of its life.

    The lock guards all fields with an underscore that change; it is not held during a fetch.
    """

    def __init__(
        self,
        fetch: Callable[[], tuple[_T, float]],
        *,
        early: float = _EARLY,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
        start: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._fetch = fetch
        self._early = early
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._start = start or _start
        self._lock = threading.Lock()
        self._value: tuple[_T, _Time] | None = None  # and when it expires
        self._next = _Time(-math.inf, -math.inf)  # no fetch begins before
        self._flight: threading.Event | None = None  # set when the fetch under way has ended
        self._failures = 0
        self._error: Exception | None = None

    def get(self) -> _T:
        """A credential that has not expired. Raises a `ProviderError` where there is none."""
        now = self._now()
        with self._lock:
            value, flight = self._good(now), self._flight
            mine = flight is None and self._next.has_come(now)
            if mine:
                flight = self._flight = threading.Event()
        if flight is not None:
            if value is None:
                return self._wait(flight, mine)
            if mine:
                self._launch(flight, self._start)
        if value is None:
            raise self._refusal()  # it failed a moment ago
        return value[0]

    def _now(self) -> _Time:
        return _Time(self._clock(), self._monotonic())

    def _good(self, now: _Time) -> tuple[_T, _Time] | None:
        is_good = self._value is not None and not self._value[1].has_come(now)
        return self._value if is_good else None

    def _wait(self, flight: threading.Event, mine: bool) -> _T:
        """Wait for a fetch, which has a thread of its own, until the deadline of the call."""
        if mine:
            self._launch(flight, _start)
        deadline = CALL_DEADLINE.get() or Deadline(float("inf"))
        end = time.monotonic() + MAX_WAIT_S
        while not flight.wait(LOOK_S):
            if deadline.remaining() <= 0:
                raise ProviderTimeout("had no credentials in time")
            if time.monotonic() >= end:
                raise ProviderUnavailable("gave us no credentials in time")
        with self._lock:
            value = self._good(self._now())
        if value is None:
            raise self._refusal()
        return value[0]

    def _launch(self, flight: threading.Event, start: Callable[[Callable[[], None]], None]) -> None:
        try:
            start(lambda: self._run(flight))
        except Exception:  # no thread to be had: better late than never
            self._run(flight)

    def _run(self, flight: threading.Event) -> None:
        """Fetch, and wake all waiting callers, also after a failure."""
        found: tuple[_T, float] | None = None
        error: Exception | None = None
        try:
            found = self._fetch()
            if not found[1] > self._clock():  # NaN neither
                found, error = None, ProviderUnavailable("gave us credentials that have expired")
        except Exception as caught:
            error = caught
        except BaseException as caught:  # a greenlet that is killed
            error = ProviderUnavailable("gave us no credentials")
            error.__cause__ = caught
        finally:
            with self._lock:
                self._note(found, error)
                self._flight = None
            flight.set()
        if error is not None:
            # No more than the kinds: the texts of foreign errors may quote what was sent.
            kinds = [type(e).__name__ for e in (error, error.__cause__) if e is not None]
            _log.warning("credentials could not be refreshed: %s", " from ".join(kinds))

    def _note(self, found: tuple[_T, float] | None, error: Exception | None) -> None:
        now = self._now()
        if found is not None:
            life = found[1] - now.of_day
            self._value = found[0], _Time(found[1], now.monotonic + life)
            self._error, self._failures = None, 0
            self._next = now.after(max(life - self._early, life / 2))
        else:
            pause = min(_LONGEST_PAUSE, 2.0 ** min(self._failures, _MAX_DOUBLINGS))
            self._error, self._failures = error, self._failures + 1
            self._next = now.after(pause * (0.5 + self._rng() / 2))

    def _refusal(self) -> ProviderError:
        error = self._error
        if isinstance(error, ProviderError):
            return copy.copy(error)  # each caller has a traceback of its own
        refusal = ProviderUnavailable("gave us no credentials")
        refusal.__cause__ = error
        return refusal


def sendable(token: object) -> str:
    """The token, or `CredentialsRefused` where a header cannot carry it as one word."""
    if not isinstance(token, str) or not _SENDABLE.fullmatch(token):
        raise CredentialsRefused("gave us a token that cannot be sent")
    return token


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="credentials", daemon=True).start()
