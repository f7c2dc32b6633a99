"""Bounds the calls and tokens of a deployment in any minute. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.locks import uncontended_lock
from app.dispatch.quotas.quota_window import QuotaReservation, QuotaWindow
from app.dispatch.quotas.remaining import RemainingCallsAndTokens
from app.domain import StatedLimit

#: The share of the window that bulk work (tier flex) may use.
BULK_SHARE = 0.9
#: The longest time for which a call waits in the queue for room in the window. A call that would
#: wait for longer is refused, so that another deployment may be called.
MAX_WAIT_S = 2.0
#: The longest time for which a header stops a deployment: a wrong one must not for long.
MAX_EXHAUSTED_S = 60.0

#: Times the expected tokens of a call, more or less: beyond, the count of a provider is a mistake.
MAX_COUNT_FACTOR = 16

_NOT_COUNTED = QuotaReservation(0.0, 0)  # of a deployment without limits


class Quota:
    """Limits calls and tokens in any 60 seconds, counted when a call is sent; None is no limit.

    The limits may be a worker's share of the operator's setting. `QuotaWindow` has the rules: how
    calls count, and how they are spaced. These methods return seconds, 0 for none:

    ==============  ==============================================================================
    `wait_s`        until the window has room for a call; decides whether one may be submitted
    `pause_s`       for which a call in the queue waits, for room or by the spacing
    `bulk_pause_s`  the same for bulk work: spaced from the first call on, and in 90 % of the window
    `held_back_s`   for which a call would wait if it were submitted now; changes nothing
    `interval_s`    between calls that use a share of the limits evenly
    ==============  ==============================================================================

    `reserve` checks for room, and not the spacing: a call is not spaced beyond its deadline.

    The lock guards all fields. ``exhausted_until`` and ``is_limited`` are read without it.
    """

    is_leased = False  # see `app.dispatch.quotas.leased_quota`

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        #: Until when the provider says that nothing remains of its own limits.
        self.exhausted_until = float("-inf")
        self.is_limited = requests is not None or tokens is not None
        self._window = QuotaWindow(requests, tokens)
        self.members = 1  # workers that use the provider's limits, as far as is known
        self._remaining = RemainingCallsAndTokens()  # of the provider's own limits
        self._lock = uncontended_lock()

    def wait_s(self, tokens: int, now: float, calls: int = 1) -> float:
        """Return the seconds until the window has room for calls of so many tokens; 0: it has."""
        if not self.is_limited:
            return 0.0
        with self._lock:
            wait = self._wait_s(tokens, now, calls)
            if wait > 0:  # the attempt may not be queued, and then `pause_s` does not do this
                self._window.drop_burst(now)
            if now < self._remaining.until:
                stated_s = self._remaining.wait_s(tokens, now, calls)
                if stated_s > MAX_WAIT_S:  # for a shorter time a call waits in the queue
                    return max(wait, stated_s)
            return wait

    def pause_s(self, tokens: int, now: float, deadline: float = float("inf")) -> float | None:
        """Return the seconds for which a call of so many tokens waits in the queue.

        0: it may leave, also where it would be spaced beyond its deadline. None: it has no room for
        longer than `MAX_WAIT_S`. Then `reserve` refuses it, and another deployment may be called.
        """
        if not self.is_limited:
            return 0.0
        with self._lock:
            if now < self._remaining.until:
                wait = self._remaining.wait_s(tokens, now)
                if wait > 0:
                    return wait if wait <= MAX_WAIT_S else None
            return self._pause_s(tokens, now, deadline)

    def held_back_s(self, tokens: int, now: float) -> float:
        """Return the seconds for which a call that is submitted now would wait in the queue.

        Unlike `pause_s`, it changes nothing: another deployment may be called instead.
        """
        until_reset_s = self.exhausted_until - now
        if not self.is_limited:
            return max(0.0, until_reset_s)
        with self._lock:
            stated_s = self._remaining.wait_s(tokens, now) if now < self._remaining.until else 0.0
            return max(0.0, until_reset_s, stated_s, self._held_back_s(tokens, now))

    def bulk_pause_s(self, tokens: int, now: float) -> float:
        """Return the seconds for which a call of bulk work waits in the queue.

        Such calls have no burst, and leave a part of the window to others.
        """
        if not self.is_limited:
            return 0.0
        used, with_call = self.used_share(0, 0, now), self.used_share(1, tokens, now)
        with self._lock:
            spacing = self._window.spacing_without_burst_s(now)
        if used > 0 and with_call > BULK_SHARE:
            return max(spacing, self.interval_s(tokens, 1.0))
        return spacing

    def reserve(self, tokens: int, now: float) -> QuotaReservation | None:
        """Count a call that is sent now; return None where it has to wait."""
        if not self.is_limited:
            return _NOT_COUNTED
        made = QuotaReservation(now, tokens)
        with self._lock:
            is_stated = now < self._remaining.until
            if (is_stated and self._remaining.wait_s(tokens, now) > 0) or not self._try_count(made):
                return None
            if is_stated:
                self._remaining.take(1, tokens)
            return made

    def tokens_left(self, now: float) -> float:
        """Return the tokens that calls may still use now: by the limits, and by the provider."""
        if not self.is_limited:
            return float("inf")
        with self._lock:
            return self._tokens_left(now)

    def calls_and_tokens_left(self, now: float) -> tuple[float, float]:
        """Return the calls and tokens that this worker may use now; infinite where not limited."""
        with self._lock:
            tokens = self._tokens_left(now)
            return min(self._own_calls_left(now), self._remaining.calls_left(now)), tokens

    def used_share(self, calls: int, tokens: int, now: float) -> float:
        """Return the share of the limits that is used with so many calls and tokens more."""
        if not self.is_limited:
            return 0.0
        with self._lock:
            return self._window.used_share(calls, tokens, now)

    def pause_until_reset(self, seconds: float, now: float) -> None:
        """Let no call leave until a limit of the provider has reset, but at most a minute."""
        with self._lock:
            self.exhausted_until = max(self.exhausted_until, now + min(seconds, MAX_EXHAUSTED_S))

    def record_stated(self, stated: Sequence[StatedLimit | None], now: float) -> None:
        """Use no more calls and tokens than the provider states to remain, until its reset."""
        if self.is_limited:
            with self._lock:
                self._remaining.update(stated, self.members, now)

    def interval_s(self, tokens: int, share: float) -> float:
        """Return the seconds between calls of so many tokens that use that share of the limits."""
        if not self.is_limited:
            return 0.0
        return self._window.interval_s(tokens) / share

    def add_tokens(self, reservation: QuotaReservation, tokens: int, now: float) -> bool:
        """Add tokens to the reservation of a call not yet sent; return False above the limit."""
        if self.is_limited:
            with self._lock:
                if tokens > self._tokens_left(now):
                    return False
                self._change(reservation, tokens)
                self._remaining.take(0, tokens)
        return True

    def settle(self, reservation: QuotaReservation, tokens: int) -> None:
        """Replace the expected tokens of a call by those that the provider counted.

        A mistaken count must not stop the deployment for longer than a window: it is taken for the
        limit, or for what was expected if that is more.
        """
        if self.is_limited:
            with self._lock:
                expected = reservation.tokens
                most = max(self._window.max_tokens, expected)
                if tokens > most and tokens > MAX_COUNT_FACTOR * max(1, expected):
                    tokens = int(most)
                self._change(reservation, tokens - expected)
                reservation.is_settled = True

    def release(self, reservation: QuotaReservation) -> None:
        """Remove a call that was not sent after all."""
        if self.is_limited:
            with self._lock:
                self._release(reservation)
                self._remaining.take(-1, -reservation.tokens)

    # Under the lock

    def _tokens_left(self, now: float) -> float:
        return min(self._own_tokens_left(now), self._remaining.tokens_left(now))

    def _own_calls_left(self, now: float) -> float:
        return self._window.calls_left(now)

    def _pause_s(self, tokens: int, now: float, deadline: float) -> float | None:
        wait = self._wait_s(tokens, now)
        if wait > 0:
            self._window.drop_burst(now)
            return wait if wait <= MAX_WAIT_S else None
        spacing = self._window.spacing_s(now)
        return spacing if now + spacing < deadline else 0.0

    def _held_back_s(self, tokens: int, now: float) -> float:
        return max(self._wait_s(tokens, now), self._window.spacing_s(now))

    def _wait_s(self, tokens: int, now: float, calls: int = 1) -> float:
        return self._window.wait_s(tokens, now, calls)

    def _own_tokens_left(self, now: float) -> float:
        return self._window.tokens_left(now)

    def _try_count(self, made: QuotaReservation) -> bool:
        if self._wait_s(made.tokens, made.at) > 0:
            return False
        self._window.count(made)
        return True

    def _change(self, reservation: QuotaReservation, tokens: int) -> None:
        self._window.change(reservation, tokens)

    def _release(self, reservation: QuotaReservation) -> None:
        self._window.release(reservation)
