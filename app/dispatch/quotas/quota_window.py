"""The calls and tokens of the last minute, against the limits of a quota. No I/O, no lock.

`app.dispatch.quotas.quota.Quota` owns it, and holds its own lock during every call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: A little more than a minute: a provider counts calls as they arrive, and two calls that were sent
#: a minute apart may arrive closer together.
WINDOW_S = 60.1
#: The share of the window whose calls and tokens may leave at once; the others are spaced.
BURST_SHARE = 0.5
#: The share of the tokens from which a window counts as full.
FULL_SHARE = 0.9


@dataclass(slots=True, eq=False)
class QuotaReservation:
    """The quota taken for one call: its time, and the tokens that it counts for."""

    at: float
    tokens: int
    is_counted: bool = False  # in the window of tokens
    is_settled: bool = False  # the tokens are those that the provider counted
    is_unreported: bool = False  # of a `LeasedQuota`: the store does not know of the call


class QuotaWindow:
    """The calls of the last minute, and when the next one is due. A limit of None is no limit.

    There are two special cases, which keep the same rate:

    1. A limit below one call a minute is one call in a longer window.
    2. A call with more tokens than the limit is sent only when the window is empty, and counts for
       longer: for twice the limit, two minutes.

    Calls are also spaced, so that a quota is not used up at the beginning of a window: by the
    generic cell rate algorithm (ITU-T I.371), at the rate of the limits, after a small burst.
    """

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._calls: deque[QuotaReservation] = deque()  # in the window of calls, oldest first
        self._counted: deque[QuotaReservation] = deque()  # in the window of tokens, oldest first
        self._tokens = 0  # of those
        #: When all calls, and all tokens, sent so far are due at the rate of the limits (the
        #: algorithm's "theoretical arrival time").
        self._calls_due = self._tokens_due = 0.0
        self.set_limits(requests, tokens)

    def set_limits(self, requests: float | None, tokens: float | None) -> None:
        """Change the limits; what was counted stays."""
        self._max_calls = float("inf") if requests is None else max(1, int(requests))
        self._call_window = WINDOW_S / min(1.0, requests) if requests else WINDOW_S
        self.max_tokens = float("inf") if tokens is None else tokens
        self._call_s = self._call_window / self._max_calls
        self._token_s = WINDOW_S / self.max_tokens

    # What it has room for

    def wait_s(self, tokens: int, now: float, calls: int = 1) -> float:
        """Return the seconds until it has room for calls of so many tokens together; 0: it has."""
        self._expire(now)
        wait = 0.0
        excess_calls = min(len(self._calls), len(self._calls) + calls - self._max_calls)
        if excess_calls > 0:
            wait = self._calls[int(excess_calls) - 1].at + self._call_window - now
        excess = self._tokens + tokens - self.max_tokens
        for counted in self._counted:
            if excess <= 0:
                break
            excess -= counted.tokens
            wait = max(wait, self._end(counted) - now)
        return wait

    def tokens_left(self, now: float) -> float:
        """Return the tokens for which it has room."""
        self._expire(now)
        return self.max_tokens - self._tokens

    def calls_left(self, now: float) -> float:
        """Return the calls for which it has room."""
        self._expire(now)
        return self._max_calls - len(self._calls)

    def used_share(self, calls: int, tokens: int, now: float) -> float:
        """Return the share of the limits that is used with so many calls and tokens more."""
        self._expire(now)
        of_calls = (len(self._calls) + calls) / self._max_calls
        return max(of_calls, (self._tokens + tokens) / self.max_tokens)

    # Spacing

    def spacing_s(self, now: float) -> float:
        """Return the seconds until the next call is due, after the burst; 0: it may leave."""
        return max(0.0, max(self._calls_due, self._tokens_due) - now - BURST_SHARE * WINDOW_S)

    def spacing_without_burst_s(self, now: float) -> float:
        """Return the seconds until the next call is due at the rate of the limits."""
        return max(0.0, max(self._calls_due, self._tokens_due) - now)

    def seconds_until_due(self, tokens: int, now: float) -> float:
        """Return the seconds until a call of so many tokens is due itself: its own count, too."""
        due = max(self._calls_due + self._call_s, self._tokens_due + tokens * self._token_s)
        return max(0.0, due - now - BURST_SHARE * WINDOW_S)

    def interval_s(self, tokens: int) -> float:
        """Return the seconds between calls of so many tokens that use all of the limits."""
        return max(self._call_s, WINDOW_S * tokens / self.max_tokens)

    def drop_burst(self, now: float) -> None:
        """Allow no burst when a full window has room again: it would come with each window."""
        room_at = 0.0
        if len(self._calls) >= self._max_calls:
            room_at = self._calls[0].at + self._call_window
        if self._counted and self._tokens >= FULL_SHARE * self.max_tokens:
            room_at = max(room_at, self._end(self._counted[0]))
        if room_at > now:
            room_at += BURST_SHARE * WINDOW_S
            self._calls_due = max(self._calls_due, room_at)
            self._tokens_due = max(self._tokens_due, room_at)

    def space_from(self, at: float) -> None:
        """Space calls from a time on, without a burst."""
        self._calls_due = self._tokens_due = at + BURST_SHARE * WINDOW_S

    # Changes

    def count(self, made: QuotaReservation) -> None:
        """Count a call."""
        self._calls.append(made)
        self._counted.append(made)
        self._tokens += made.tokens
        made.is_counted = True
        self._calls_due = max(self._calls_due, made.at) + self._call_s
        self._tokens_due = max(self._tokens_due, made.at) + made.tokens * self._token_s

    def change(self, reservation: QuotaReservation, tokens: int) -> None:
        """Add tokens to a call, or subtract them."""
        if reservation.is_counted:
            self._tokens += tokens
            self._tokens_due += tokens * self._token_s
        reservation.tokens += tokens

    def release(self, reservation: QuotaReservation) -> None:
        """Remove a call that was not sent."""
        if reservation in self._calls:
            self._calls.remove(reservation)
            self._calls_due -= self._call_s
        if reservation.is_counted:
            self._counted.remove(reservation)
            self._tokens -= reservation.tokens
            self._tokens_due -= reservation.tokens * self._token_s
            reservation.is_counted = False

    def _expire(self, now: float) -> None:
        while self._calls and self._calls[0].at + self._call_window <= now:
            self._calls.popleft()
        while self._counted and self._end(self._counted[0]) <= now:
            expired = self._counted.popleft()
            self._tokens -= expired.tokens
            expired.is_counted = False

    def _end(self, counted: QuotaReservation) -> float:
        """Return the time at which the tokens of a call leave the window."""
        return counted.at + WINDOW_S * max(1.0, counted.tokens / self.max_tokens)
