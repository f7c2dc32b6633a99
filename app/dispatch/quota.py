"""What a deployment may be asked in a minute: calls and tokens. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from app.concurrency.locks import uncontended_lock

#: Seconds. A little more than a minute: a provider counts a call when it arrives, and what left a
#: minute apart may arrive closer together.
WINDOW_S = 60.1


@dataclass(slots=True, eq=False)
class Reservation:
    """One call that has left: when, and the tokens that it counts for."""

    at: float
    tokens: int
    is_counted: bool = False  # in the window of tokens


_NOT_COUNTED = Reservation(0.0, 0)  # of a deployment without limits


class Quota:
    """Calls and tokens in any 60 seconds, counted when a call leaves; None is no limit.

    The limits may be a worker's share of what the operator set. A share below one call is one call
    in a longer window; a call that is larger than the share of tokens leaves only when the window
    is empty, and then counts for as many minutes as it has shares. Either way the rate is kept.

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
        """Seconds until a call of so many tokens may leave; 0 where it may now."""
        if not self._limited:
            return 0.0
        with self._lock:
            return self._wait(tokens, now)

    def reserve(self, tokens: int, now: float) -> Reservation | None:
        """Count a call that leaves now; None where it may not."""
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
        """Tokens that calls may still take now."""
        if not self._limited:
            return float("inf")
        with self._lock:
            self._expire(now)
            return self._max_tokens - self._tokens

    def add(self, reservation: Reservation, tokens: int, now: float) -> bool:
        """Count more tokens for a call that is about to leave; False where they are too many."""
        if self._limited:
            with self._lock:
                self._expire(now)
                if self._tokens + tokens > self._max_tokens:
                    return False
                self._change(reservation, tokens)
        return True

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Count the tokens that the provider counted, in the place of those expected."""
        if self._limited:
            with self._lock:
                self._change(reservation, tokens - reservation.tokens)

    def release(self, reservation: Reservation) -> None:
        """Count a call no more that did not leave after all."""
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
        """When the tokens of a call count no more."""
        return counted.at + WINDOW_S * max(1.0, counted.tokens / self._max_tokens)
