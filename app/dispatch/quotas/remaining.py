"""What a provider says remains of one of its rate limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain import StatedLimit

#: The longest time for which a header is believed: a wrong one must not stop a deployment for long.
MAX_BELIEVED_S = 60.0
_MINUTE_S = 60.0
#: A reset is that of a token bucket if it differs from the seconds until such a bucket is full by
#: at most this share of them, and one second.
_TOLERANCE = 0.2
_TOLERANCE_S = 1.0


class Remaining:
    """This worker's share of what remains of a limit, from the provider's answer to the reset.

    There are two kinds of limits, told apart by the reset:

    1. A token bucket that is full after a minute, as OpenAI has: the reset is when it is full, and
       in proportion to what is used. What remains grows until then.
    2. Any other: what remains does not grow until the reset.
    """

    def __init__(self) -> None:
        self.until = float("-inf")  # the reset, or when the statement is too old
        self._at = 0.0  # when the provider stated it
        self._left = 0.0  # for this worker, at that time; less what it has used since
        self._whole = 0.0  # for all workers together, at that time
        self._refill = 0.0  # a second, for this worker; 0: no token bucket
        self._is_untouched = True  # this worker has used nothing since

    def update(self, stated: StatedLimit, workers: int, now: float) -> None:
        """Use what the provider states, which is for all ``workers`` together."""
        remaining, limit, reset_s = stated
        self.until = now + min(reset_s, MAX_BELIEVED_S)
        self._at, self._left, self._whole = now, remaining / workers, remaining
        self._is_untouched, self._refill = True, 0.0
        if limit is not None and limit > remaining:
            full_in = _MINUTE_S * (limit - remaining) / limit
            if abs(reset_s - full_in) <= _TOLERANCE * full_in + min(_TOLERANCE_S, full_in):
                self._refill = limit / _MINUTE_S / workers

    def amount_left(self, now: float) -> float:
        """Return how much this worker may still use; infinite after the reset."""
        if now >= self.until:
            return float("inf")
        return self._left + self._refill * (now - self._at)

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until so much remains.

        The first call may use more than this worker's share, which may be less than any call.
        """
        if now >= self.until or (self._is_untouched and amount <= self._whole):
            return 0.0
        missing = amount - self.amount_left(now)
        if missing <= 0:
            return 0.0
        wait = self.until - now
        return min(wait, missing / self._refill) if self._refill else wait

    def take(self, amount: float) -> None:
        """Count what a call uses; a negative amount: what it does not use after all."""
        self._left -= amount
        self._is_untouched = False


class RemainingCallsAndTokens:
    """What a provider says remains of its limits, of calls and of tokens.

    `app.dispatch.quotas.quota.Quota` owns it, and holds its own lock during every call.
    """

    def __init__(self) -> None:
        self.until = float("-inf")  # when what the provider has stated no longer counts
        self._calls, self._tokens = Remaining(), Remaining()

    def update(self, stated: Sequence[StatedLimit | None], workers: int, now: float) -> None:
        """Use what the provider states of calls and of tokens; None: it states nothing."""
        for remaining, limit in zip((self._calls, self._tokens), stated, strict=True):
            if limit is not None:
                remaining.update(limit, workers, now)
        self.until = max(self._calls.until, self._tokens.until)

    def wait_s(self, tokens: int, now: float, calls: int = 1) -> float:
        """Return the seconds until calls of so many tokens remain."""
        return max(self._calls.wait_s(calls, now), self._tokens.wait_s(tokens, now))

    def take(self, calls: int, tokens: int) -> None:
        """Count calls and tokens, or, where negative, that they are not used after all."""
        self._calls.take(calls)
        self._tokens.take(tokens)

    def calls_left(self, now: float) -> float:
        """Return the calls that remain, at least 0; infinite where nothing is stated."""
        return max(0.0, self._calls.amount_left(now))

    def tokens_left(self, now: float) -> float:
        """Return the tokens that remain, at least 0; infinite where nothing is stated."""
        return max(0.0, self._tokens.amount_left(now))
