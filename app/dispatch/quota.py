"""Bounds the calls and tokens of a deployment in any minute. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from app.concurrency.locks import uncontended_lock

#: A little more than a minute: a provider counts calls as they arrive, and two calls that were sent
#: a minute apart may arrive closer together.
WINDOW_S = 60.1


@dataclass(slots=True, eq=False)
class Reservation:
    """The quota taken for one call: its time, and the tokens that it counts for."""

    at: float
    tokens: int
    is_counted: bool = False  # in the window of tokens


_NOT_COUNTED = Reservation(0.0, 0)  # of a deployment without limits


class Quota:
    """Limits calls and tokens in any 60 seconds, counted when a call is sent; None is no limit.

    The limits may be a worker's share of the operator's setting. There are two special cases, which
    keep the same rate: a share below one call is one call in a longer window; a call larger than
    the share of tokens is sent only when the window is empty, and counts for as many minutes as it
    has shares.

    The lock guards ``_calls``, ``_counted``, their reservations and ``_tokens``.
    """

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._limited = requests is not None or tokens is not None
        self._max_calls = float("inf") if requests is None else max(1, int(requests))
        self._call_window = WINDOW_S / min(1.0, requests) if requests else WINDOW_S
        self._max_tokens = float("inf") if tokens is None else tokens
        self._calls: deque[Reservation] = deque()  # in the window of calls, oldest first
        self._counted: deque[Reservation] = deque()  # in the window of tokens, oldest first
        self._tokens = 0  # of those
        self._lock = uncontended_lock()

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a call of so many tokens may be sent; 0: now."""
        if not self._limited:
            return 0.0
        with self._lock:
            return self._wait(tokens, now)

    def reserve(self, tokens: int, now: float) -> Reservation | None:
        """Count a call that is sent now; return None where it has to wait."""
        if not self._limited:
            return _NOT_COUNTED
        made = Reservation(now, tokens)
        with self._lock:
            if self._wait(tokens, now) > 0:
                return None
            self._calls.append(made)
            self._counted.append(made)
            self._tokens += tokens
            made.is_counted = True
        return made

    def room(self, now: float) -> float:
        """Return the tokens that calls may still use now."""
        if not self._limited:
            return float("inf")
        with self._lock:
            self._expire(now)
            return self._max_tokens - self._tokens

    def used_share(self, calls: int, tokens: int, now: float) -> float:
        """Return the share of the limits that is used with so many calls and tokens more."""
        if not self._limited:
            return 0.0
        with self._lock:
            self._expire(now)
            of_calls = (len(self._calls) + calls) / self._max_calls
            return max(of_calls, (self._tokens + tokens) / self._max_tokens)

    def spread_s(self, tokens: int, share: float) -> float:
        """Return the seconds between calls of so many tokens that use that share of the limits."""
        if not self._limited:
            return 0.0
        of_calls = self._call_window / self._max_calls
        return max(of_calls, WINDOW_S * tokens / self._max_tokens) / share

    def add(self, reservation: Reservation, tokens: int, now: float) -> bool:
        """Add tokens to the reservation of a call not yet sent; return False above the limit."""
        if self._limited:
            with self._lock:
                self._expire(now)
                if self._tokens + tokens > self._max_tokens:
                    return False
                self._change(reservation, tokens)
        return True

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Replace the expected tokens of a call by those that the provider counted."""
        if self._limited:
            with self._lock:
                self._change(reservation, tokens - reservation.tokens)

    def release(self, reservation: Reservation) -> None:
        """Remove a call that was not sent after all."""
        if self._limited:
            with self._lock:
                if reservation in self._calls:
                    self._calls.remove(reservation)
                if reservation.is_counted:
                    self._counted.remove(reservation)
                    self._tokens -= reservation.tokens
                    reservation.is_counted = False

    def _change(self, reservation: Reservation, tokens: int) -> None:
        if reservation.is_counted:
            self._tokens += tokens
        reservation.tokens += tokens

    def _wait(self, tokens: int, now: float) -> float:
        self._expire(now)
        wait = 0.0
        excess_calls = len(self._calls) + 1 - self._max_calls
        if excess_calls > 0:
            wait = self._calls[int(excess_calls) - 1].at + self._call_window - now
        excess = self._tokens + tokens - self._max_tokens
        for counted in self._counted:
            if excess <= 0:
                break
            excess -= counted.tokens
            wait = max(wait, self._end(counted) - now)
        return wait

    def _expire(self, now: float) -> None:
        while self._calls and self._calls[0].at + self._call_window <= now:
            self._calls.popleft()
        while self._counted and self._end(self._counted[0]) <= now:
            expired = self._counted.popleft()
            self._tokens -= expired.tokens
            expired.is_counted = False

    def _end(self, counted: Reservation) -> float:
        """Return the time at which the tokens of a call leave the window."""
        return counted.at + WINDOW_S * max(1.0, counted.tokens / self._max_tokens)
