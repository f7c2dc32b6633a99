"""Keeps the last requests of this process, in memory, for the console."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from app.concurrency.locks import uncontended_lock
from app.observability.request_record import RequestRecord

#: Requests kept of callers; and apart from these of requests without a valid key, so that a flood
#: of them displaces no other.
MAX_REQUESTS = 1000
MAX_REQUESTS_WITHOUT_KEY = 100
#: Calls of all requests kept; the oldest requests are dropped beyond.
MAX_CALLS = 10_000


class RecentRequest(Struct, frozen=True, gc=False):
    """A finished request, and what happened to it. It has no inputs, and no secrets.

    `app.observability.live.steps` makes the steps of it. ``started``, ``admitted_at`` and the times
    of the calls are those of the monotonic clock.
    """

    record: RequestRecord
    ended_at: float  # seconds since 1970
    side: str | None  # whose the error is
    cost: int  # in billionths of a dollar
    started: float
    admitted_at: float  # 0: it was refused before
    calls: tuple[tuple[Any, ...], ...]  # the values of a `app.domain.CallRecord` each


class RecentRequests:
    """The last requests of this process; the lock guards all fields."""

    def __init__(self) -> None:
        self._lock = uncontended_lock()
        self._kept: deque[RecentRequest] = deque()
        self._without_key: deque[RecentRequest] = deque(maxlen=MAX_REQUESTS_WITHOUT_KEY)
        self._calls = 0  # of those in ``_kept``

    def add(self, requests: Iterable[RecentRequest]) -> None:
        """Keep requests, and drop the oldest beyond the limits."""
        with self._lock:
            kept = self._kept
            for request in requests:
                if request.record.key is None:
                    self._without_key.append(request)
                    continue
                kept.append(request)
                self._calls += len(request.calls)
                while len(kept) > MAX_REQUESTS or self._calls > MAX_CALLS:
                    self._calls -= len(kept.popleft().calls)

    def find(self, request_id: str) -> list[RecentRequest]:
        """Return the requests with an id, newest first.

        A client chooses its id, and may use one for several requests.
        """
        found = [request for request in self.all() if request.record.request_id == request_id]
        return sorted(found, key=lambda request: -request.ended_at)

    def all(self) -> list[RecentRequest]:
        """Return all requests that are kept."""
        with self._lock:
            return [*self._kept, *self._without_key]
