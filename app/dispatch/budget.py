"""Limits on what the proxy adds by itself, and on what a deployment may be asked. No I/O."""

from __future__ import annotations

from collections import deque

from app.mutex import mutex


class Budget:
    """Extra calls as a share of the calls asked for, so that a sick provider is not stampeded.

    Each call asked for earns ``ratio`` of an extra one; ``start`` are there at the beginning and
    ``most`` can be saved up. The lock guards ``_saved``.

    Source: the retry budget of Finagle (twitter.github.io/finagle/guide/Clients.html).
    """

    def __init__(self, ratio: float, start: float, most: float) -> None:
        self._ratio = ratio
        self._most = most
        self._saved = start
        self._lock = mutex()

    def earn(self) -> None:
        with self._lock:
            self._saved = min(self._saved + self._ratio, self._most)

    def spend(self, cost: float = 1.0) -> bool:
        """Take one extra call, or a part of one; False where the budget is used up."""
        with self._lock:
            if self._saved < cost:
                return False
            self._saved -= cost
            return True


_NO_LIMIT = float("inf")


class Quota:
    """Requests and tokens in any 60 seconds; None is no limit. The lock guards ``_taken``."""

    WINDOW = 60.0  # seconds

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests = requests
        self._tokens = tokens
        self._taken: deque[tuple[float, int, int]] = deque()  # when, requests, tokens
        self._requests_taken = 0
        self._tokens_taken = 0
        self._lock = mutex()

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a call of that many tokens fits; 0 where it does now.

        A call larger than the whole limit fits into an empty window: it could never go otherwise.
        """
        if self._requests is None and self._tokens is None:
            return 0.0
        with self._lock:
            return self._wait(tokens, now)

    def take(self, requests: int, tokens: int, now: float) -> None:
        if self._requests is not None or self._tokens is not None:
            with self._lock:
                self._taken.append((now, requests, tokens))
                self._requests_taken += requests
                self._tokens_taken += tokens

    def _wait(self, tokens: int, now: float) -> float:
        self._forget(now)
        requests = self._requests_taken + 1 - max(1, self._requests or _NO_LIMIT)
        excess = self._tokens_taken + tokens - (self._tokens or _NO_LIMIT)
        wait = 0.0
        for taken_at, requests_then, tokens_then in self._taken:
            if requests <= 0 and excess <= 0:
                break
            requests -= requests_then
            excess -= tokens_then
            wait = taken_at + self.WINDOW - now
        return wait

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - self.WINDOW:
            _, requests, tokens = self._taken.popleft()
            self._requests_taken -= requests
            self._tokens_taken -= tokens
