"""Counts requests and calls of this process for the last hour."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from app.concurrency.locks import uncontended_lock
from app.dispatch.events import Events
from app.domain import Tier, Vectors
from app.errors import ProviderError
from app.limits.periods import Calendar
from app.observability.live.latencies import BOUNDS, place_of
from app.observability.live.recent_requests import RecentRequest
from app.observability.live.ring import Labels, Ring, Window

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment

MAX_MARKS = 200
#: Names of sums, besides ("error", side, code), ("waiting", tier), and those of deployments:
#: ("calls" | "failed" | "seconds", model, provider, its name for the model). `Figures.add` counts
#: by their places.
SUMS = ("requests", "served", "items", "tokens", "cached_tokens", "cost")
_LATENCY = len(SUMS)  # the first column of the histogram
#: Calls that wait to be added to the sums.
MAX_PENDING = 100


class Mark(NamedTuple):
    """An event to show in charts: "reloaded", or "ejected" with the deployment."""

    at: float  # seconds since 1970
    kind: str
    model: str = ""
    provider: str = ""
    deployment: str = ""


class Figures(Events):
    """The figures of this process: `Ring` has the sums.

    What a call adds is pending at first, which costs least, and is added to the sums once a second.
    The lock guards the ring, and what is spent today. ``clock`` gives seconds since 1970; ``day``
    is that of the budgets.
    """

    def __init__(self, day: Calendar, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._day = day
        self._lock = uncontended_lock()
        now = clock()
        self._ring = Ring(now)
        for name in SUMS:
            self._ring.column(name)
        for place in range(len(BOUNDS)):
            self._ring.column("latency", str(place))
        self._today, self._spent_today = day.span(now), 0
        self._calls: dict[Deployment, tuple[int, int, int]] = {}
        self._ended: deque[tuple[str, Deployment, float, int]] = deque()
        self._marks: deque[Mark] = deque(maxlen=MAX_MARKS)

    # On the way of a request, where nothing is locked

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        self._ended.append((model, deployment, seconds, 0))
        if len(self._ended) > MAX_PENDING:
            self.fold()

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        self._ended.append((model, deployment, seconds, 1))
        if len(self._ended) > MAX_PENDING:
            self.fold()

    def ejected(self, model: str, deployment: Deployment) -> None:
        self.mark(Mark(self._clock(), "ejected", model, *deployment.source))

    # Of the process

    def add(self, requests: Iterable[RecentRequest]) -> None:
        """Add finished requests for embeddings to the sums, in the order of their ends."""
        with self._lock:
            ring = self._ring
            for request in requests:
                if request.ended_at >= ring.open_until:
                    ring.turn(request.ended_at)
                sums, record = ring.open, request.record
                sums[0] += 1
                if record.error_code is None:
                    sums[1] += 1
                    sums[2] += record.items or 0
                    sums[3] += record.tokens or 0
                    sums[4] += record.cached_tokens or 0
                    sums[_LATENCY + place_of(record.total_ms / 1000)] += 1
                else:
                    sums[ring.column("error", request.side or "", record.error_code)] += 1
                if request.cost:
                    sums[5] += request.cost
                    self._spend(request.cost, request.ended_at)

    def fold(self) -> None:
        """Add the calls that are pending to the sums."""
        with self._lock:
            self._fold()

    def _fold(self) -> None:
        ended = self._ended
        self._ring.turn(self._clock())
        for _ in range(len(ended)):  # no more than that: others are added meanwhile
            model, deployment, seconds, failures = ended.popleft()
            self._count_call(model, deployment, seconds, failures)

    def _count_call(
        self, model: str, deployment: Deployment, seconds: float, failures: int
    ) -> None:
        columns = self._calls.get(deployment)
        if columns is None:
            labels = model, *deployment.source
            columns = self._calls[deployment] = (
                self._ring.column("calls", *labels),
                self._ring.column("failed", *labels),
                self._ring.column("seconds", *labels),
            )
        sums = self._ring.open
        sums[columns[0]] += 1
        sums[columns[1]] += failures
        sums[columns[2]] += seconds

    def _spend(self, cost: int, ended_at: float) -> None:
        if ended_at >= self._today.end:
            self._today, self._spent_today = self._day.span(ended_at), 0
        if ended_at >= self._today.start:  # else it ended yesterday, and is added late
            self._spent_today += cost

    def mark(self, mark: Mark) -> None:
        """Add a mark for charts."""
        self._marks.append(mark)

    def sample(self, waiting: Mapping[Tier, int]) -> None:
        """Record how many attempts wait by tier: a bucket keeps the most."""
        with self._lock:
            self._fold()
            sums = self._ring.open
            for tier, number in waiting.items():
                column = self._ring.column("waiting", tier)
                sums[column] = max(sums[column], number)

    def read(self, since: float) -> Window:
        """Return the sums of the buckets from a time on, at most those of the last hour."""
        with self._lock:
            self._fold()
            return self._ring.read(since, self._clock())

    def totals(self) -> dict[Labels, float]:
        """Return the sums of the last hour."""
        with self._lock:
            self._fold()
            return self._ring.totals(self._clock())

    def marks(self) -> list[Mark]:
        """Return the last marks, in the order in which they were made."""
        return list(self._marks)

    def spent_today(self) -> tuple[float, int]:
        """Return when today has begun, and what requests have cost since: billionths of a dollar.

        What was spent before the start of the process is not in it.
        """
        with self._lock:
            self._fold()
            now = self._clock()
            if not self._today.start <= now < self._today.end:  # or the clock was set back
                self._today, self._spent_today = self._day.span(now), 0
            return self._today.start, self._spent_today
