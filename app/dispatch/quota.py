"""Bounds the calls and tokens of a deployment in any minute. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from app.concurrency.locks import uncontended_lock
from app.dispatch.remaining import RemainingCallsAndTokens
from app.dispatch.reservation import Reservation
from app.domain import StatedLimit

#: A little more than a minute: a provider counts calls as they arrive, and two calls that were sent
#: a minute apart may arrive closer together.
WINDOW_S = 60.1
#: The share of the window whose calls and tokens may leave at once; the others are spaced.
BURST_SHARE = 0.5
#: The share of the tokens from which a window counts as full.
FULL_SHARE = 0.9
#: The share of the window that bulk work (tier flex) may use.
BULK_SHARE = 0.9
#: The longest wait for room in the window that a call in the queue waits; before a longer one it is
#: refused.
MAX_WAIT_S = 2.0
#: The longest rest for what a provider says of its limits: a wrong header must not stop it long.
MAX_REST_S = 60.0

_NOT_COUNTED = Reservation(0.0, 0)  # of a deployment without limits


class Quota:
    """Limits calls and tokens in any 60 seconds, counted when a call is sent; None is no limit.

    The limits may be a worker's share of the operator's setting. There are two special cases, which
    keep the same rate: a share below one call is one call in a longer window; a call larger than
    the share of tokens is sent only when the window is empty, and counts for as many minutes as it
    has shares.

    Calls are also spaced, so that a quota is not used up at the beginning of a window: by the
    generic cell rate algorithm (ITU-T I.371), at the rate of the limits, after a small burst.
    `pause` has the seconds; `reserve` does not refuse a call for it.

    The lock guards all fields.
    """

    is_leased = False  # see `app.dispatch.leased_quota`

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        #: Until when the provider says that nothing remains of its own limits.
        self.rests_until = float("-inf")
        self.is_limited = self._limited = requests is not None or tokens is not None
        self._calls: deque[Reservation] = deque()  # in the window of calls, oldest first
        self._counted: deque[Reservation] = deque()  # in the window of tokens, oldest first
        self._tokens = 0  # of those
        #: When the calls, and the tokens, sent so far are all due at the rate of the limits.
        self._calls_due = self._tokens_due = 0.0
        self.members = 1  # workers that use the provider's limits, as far as is known
        self._remaining = RemainingCallsAndTokens()  # of the provider's own limits
        self._lock = uncontended_lock()
        self._set_limits(requests, tokens)

    def _set_limits(self, requests: float | None, tokens: float | None) -> None:
        self._max_calls = float("inf") if requests is None else max(1, int(requests))
        self._call_window = WINDOW_S / min(1.0, requests) if requests else WINDOW_S
        self._max_tokens = float("inf") if tokens is None else tokens
        self._call_s = self._call_window / self._max_calls
        self._token_s = WINDOW_S / self._max_tokens

    def wait(self, tokens: int, now: float, calls: int = 1) -> float:
        """Return the seconds until the window has room for calls of so many tokens; 0: it has."""
        if not self._limited:
            return 0.0
        with self._lock:
            wait = self._wait(tokens, now, calls)
            if wait > 0:  # then no attempt waits in the queue, where `pause` would see it
                self._drop_burst(now)
            if now < self._remaining.until:
                told = self._remaining.wait(tokens, now, calls)
                return max(wait, told) if told > MAX_WAIT_S else wait  # a shorter one in the queue
            return wait

    def pause(self, tokens: int, now: float, deadline: float = float("inf")) -> float:
        """Return the seconds for which a call of so many tokens waits in the queue; 0: it leaves.

        A call is not spaced beyond its deadline. 0 also where the window has no room for long:
        `reserve` refuses the call.
        """
        if not self._limited:
            return 0.0
        with self._lock:
            if now < self._remaining.until:
                wait = self._remaining.wait(tokens, now)
                if wait > 0:
                    return wait if wait <= MAX_WAIT_S else 0.0
            return self._pause(tokens, now, deadline)

    def held_back_s(self, tokens: int, now: float) -> float:
        """Return the seconds for which a call that is submitted now would wait in the queue.

        As `pause`, but it asks for nothing: another deployment may be called instead.
        """
        rest = self.rests_until - now
        if not self._limited:
            return max(0.0, rest)
        with self._lock:
            told = self._remaining.wait(tokens, now) if now < self._remaining.until else 0.0
            return max(0.0, rest, told, self._held_back(tokens, now))

    def bulk_pause(self, tokens: int, now: float) -> float:
        """Return the seconds for which a call of bulk work waits in the queue.

        Such calls have no burst, and leave a part of the window to others.
        """
        if not self._limited:
            return 0.0
        used, with_call = self.used_share(0, 0, now), self.used_share(1, tokens, now)
        with self._lock:
            spacing = max(0.0, max(self._calls_due, self._tokens_due) - now)
        if used > 0 and with_call > BULK_SHARE:
            return max(spacing, self.spread_s(tokens, 1.0))
        return spacing

    def reserve(self, tokens: int, now: float) -> Reservation | None:
        """Count a call that is sent now; return None where it has to wait."""
        if not self._limited:
            return _NOT_COUNTED
        made = Reservation(now, tokens)
        with self._lock:
            is_told = now < self._remaining.until
            if (is_told and self._remaining.wait(tokens, now) > 0) or not self._try_count(made):
                return None
            if is_told:
                self._remaining.take(1, tokens)
            return made

    def room(self, now: float) -> float:
        """Return the tokens that calls may still use now."""
        if not self._limited:
            return float("inf")
        with self._lock:
            return self._believed_room(now)

    def left(self, now: float) -> tuple[float, float]:
        """Return the calls and tokens that this worker may use now; infinite where not limited."""
        with self._lock:
            tokens = self._believed_room(now)
            return min(self._calls_left(now), self._remaining.calls_left(now)), tokens

    def used_share(self, calls: int, tokens: int, now: float) -> float:
        """Return the share of the limits that is used with so many calls and tokens more."""
        if not self._limited:
            return 0.0
        with self._lock:
            self._expire(now)
            of_calls = (len(self._calls) + calls) / self._max_calls
            return max(of_calls, (self._tokens + tokens) / self._max_tokens)

    def rest(self, seconds: float, now: float) -> None:
        """Let no call leave until a limit of the provider has reset, but at most a minute."""
        self.rests_until = max(self.rests_until, now + min(seconds, MAX_REST_S))

    def believe(self, stated: Sequence[StatedLimit | None], now: float) -> None:
        """Use no more calls and tokens than the provider says remain, until its limits reset."""
        if self._limited:
            with self._lock:
                self._remaining.update(stated, self.members, now)

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
                if tokens > self._believed_room(now):
                    return False
                self._change(reservation, tokens)
                self._remaining.take(0, tokens)
        return True

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Replace the expected tokens of a call by those that the provider counted."""
        if self._limited:
            with self._lock:
                self._change(reservation, tokens - reservation.tokens)
                reservation.is_settled = True

    def release(self, reservation: Reservation) -> None:
        """Remove a call that was not sent after all."""
        if self._limited:
            with self._lock:
                self._release(reservation)
                self._remaining.take(-1, -reservation.tokens)

    # Under the lock

    def _believed_room(self, now: float) -> float:
        return min(self._room(now), self._remaining.tokens_left(now))

    def _calls_left(self, now: float) -> float:
        self._expire(now)
        return self._max_calls - len(self._calls)

    def _pause(self, tokens: int, now: float, deadline: float) -> float:
        wait = self._wait(tokens, now)
        if wait > 0:
            self._drop_burst(now)
            return wait if wait <= MAX_WAIT_S else 0.0
        spacing = self._spacing(now)
        return spacing if now + spacing < deadline else 0.0

    def _held_back(self, tokens: int, now: float) -> float:
        return max(self._wait(tokens, now), self._spacing(now))

    def _room(self, now: float) -> float:
        self._expire(now)
        return self._max_tokens - self._tokens

    def _try_count(self, made: Reservation) -> bool:
        if self._wait(made.tokens, made.at) > 0:
            return False
        self._count(made)
        return True

    def _release(self, reservation: Reservation) -> None:
        if reservation in self._calls:
            self._calls.remove(reservation)
            self._calls_due -= self._call_s
        if reservation.is_counted:
            self._counted.remove(reservation)
            self._tokens -= reservation.tokens
            self._tokens_due -= reservation.tokens * self._token_s
            reservation.is_counted = False

    def _count(self, made: Reservation) -> None:
        self._calls.append(made)
        self._counted.append(made)
        self._tokens += made.tokens
        made.is_counted = True
        self._calls_due = max(self._calls_due, made.at) + self._call_s
        self._tokens_due = max(self._tokens_due, made.at) + made.tokens * self._token_s

    def _spacing(self, now: float) -> float:
        return max(0.0, max(self._calls_due, self._tokens_due) - now - BURST_SHARE * WINDOW_S)

    def _drop_burst(self, now: float) -> None:
        """Space calls from when a full window has room again: a burst would come each window."""
        room_at = 0.0
        if len(self._calls) >= self._max_calls:
            room_at = self._calls[0].at + self._call_window
        if self._counted and self._tokens >= FULL_SHARE * self._max_tokens:
            room_at = max(room_at, self._end(self._counted[0]))
        if room_at > now:
            room_at += BURST_SHARE * WINDOW_S
            self._calls_due = max(self._calls_due, room_at)
            self._tokens_due = max(self._tokens_due, room_at)

    def _change(self, reservation: Reservation, tokens: int) -> None:
        if reservation.is_counted:
            self._tokens += tokens
            self._tokens_due += tokens * self._token_s
        reservation.tokens += tokens

    def _wait(self, tokens: int, now: float, calls: int = 1) -> float:
        self._expire(now)
        wait = 0.0
        excess_calls = min(len(self._calls), len(self._calls) + calls - self._max_calls)
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
