"""What a key may use in a minute: requests and tokens, in a sliding window.

The counting is the `limits` library's sliding window counter: the minute before weighs in as far as
it still reaches into the last 60 seconds. Counted in memory, so each worker has its share.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from app.domain import Caller, EmbeddingRequest
from app.errors import RateLimited
from app.usage.share import estimate

WINDOW = 60.0  # seconds


@dataclass(slots=True)
class Grant:
    """A request that was let in: what it was taken for, and the headers that say what is left."""

    caller: Caller
    tokens: int  # estimated before anyone counted
    headers: dict[str, str] = field(default_factory=dict)


class Limiter:
    """Lets requests in while their key has something left. ``workers`` share a key's limits."""

    def __init__(self, workers: int = 1) -> None:
        self._storage = MemoryStorage()
        self._window = SlidingWindowCounterRateLimiter(self._storage)
        self._workers = workers

    def admit(self, caller: Caller, request: EmbeddingRequest) -> Grant | None:
        """Take a request and its expected tokens; None for a key without limits.

        Raises `RateLimited`; a request that is refused costs nothing.
        """
        if caller.requests_per_minute is None and caller.tokens_per_minute is None:
            return None
        grant = Grant(caller, sum(map(estimate, request.items)))
        if caller.requests_per_minute is not None:
            self._take(caller, "requests", caller.requests_per_minute, 1)
        if caller.tokens_per_minute is not None:
            try:
                self._take(caller, "tokens", caller.tokens_per_minute, grant.tokens)
            except RateLimited:
                if caller.requests_per_minute is not None:
                    self._add(caller, "requests", caller.requests_per_minute, -1)
                raise
        grant.headers = self.headers(caller)
        return grant

    def settle(self, grant: Grant, tokens: int) -> None:
        """Correct the estimate by what was counted; 0 for a request that failed."""
        limit = grant.caller.tokens_per_minute
        if limit is not None and tokens != grant.tokens:
            self._add(grant.caller, "tokens", limit, tokens - grant.tokens)
            grant.headers = self.headers(grant.caller)

    def headers(self, caller: Caller) -> dict[str, str]:
        """OpenAI's ``x-ratelimit-*`` headers for the limits that the key has."""
        headers = {}
        for what, limit in (
            ("requests", caller.requests_per_minute),
            ("tokens", caller.tokens_per_minute),
        ):
            if limit is not None:
                window = self._state(caller, what, limit)
                left = max(0, math.floor(self._share(limit) - window.used))
                headers[f"x-ratelimit-limit-{what}"] = str(limit)
                headers[f"x-ratelimit-remaining-{what}"] = str(left)
                headers[f"x-ratelimit-reset-{what}"] = duration(window.time_to_fit(0))
        return headers

    def _share(self, limit: int) -> int:
        return max(1, limit // self._workers)

    def _take(self, caller: Caller, what: str, limit: int, cost: int) -> None:
        share = self._share(limit)
        item = RateLimitItemPerMinute(share)
        if self._window.hit(item, caller.name, what, cost=cost):
            return
        window = self._state(caller, what, limit)
        fits = cost <= share
        wait = window.time_to_fit(share - cost) if fits else WINDOW
        refusal = RateLimited(
            f"Rate limit reached for {what} per minute: limit {limit}, used "
            f"{math.ceil(window.used)}, requested {cost}."
            + (f" Please try again in {duration(wait)}." if fits else ""),
            type=what,
            retry_after=wait,
            should_retry=None if fits else False,
        )
        refusal.headers = self.headers(caller)
        raise refusal

    def _add(self, caller: Caller, what: str, limit: int, cost: int) -> None:
        """Count what has happened already, whatever the limit."""
        item = RateLimitItemPerMinute(self._share(limit))
        key = item.key_for(caller.name, what)
        _, current = self._storage.sliding_window_keys(key, item.get_expiry(), time.time())
        self._storage.incr(current, 2 * item.get_expiry(), cost)

    def _state(self, caller: Caller, what: str, limit: int) -> Window:
        item = RateLimitItemPerMinute(self._share(limit))
        before, before_left, current, current_left = self._storage.get_sliding_window(
            item.key_for(caller.name, what), item.get_expiry()
        )
        # The library counts the current minute's expiry to the end of the next one.
        return Window(before, before_left, current, current_left - WINDOW)


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window: the counts of the last and of this minute, and the seconds left of each."""

    before: float
    before_left: float
    current: float
    current_left: float

    @property
    def used(self) -> float:
        """What counts now: of the last minute, the part that still reaches into the window."""
        return self.before * self.before_left / WINDOW + self.current

    def time_to_fit(self, room: float) -> float:
        """Seconds until no more than ``room`` is used, if nothing is added."""
        if self.used <= room:
            return 0.0
        if self.before and self.current <= room:
            return self.before_left - (room - self.current) * WINDOW / self.before
        # Not within this minute: from its end on, its own count fades.
        fades = WINDOW * (1 - max(room, 0.0) / self.current) if self.current > room else 0.0
        return self.current_left + fades


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``20ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:.3g}s"
