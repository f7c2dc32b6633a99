"""The calls of one request: their number, and how long it waited in queues and for providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.dispatch.queue.attempt import Attempt, Result
from app.domain import Vectors
from app.errors import ClientError, ProviderError

if TYPE_CHECKING:
    from app.dispatch.job.part import Part

#: Records of one request: a request of 8,192 items may have more calls.
MAX_CALLS_RECORDED = 100
ABANDONED = "abandoned"


class CallTimes:
    """Counts the calls of a request, and adds up their times. No I/O, no lock.

    Calls run side by side, so that their times overlap: a time counts once, as upstream where at
    least one call was in flight, else as queue. Queue is also a pause before a retry.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.first_queued_at: float | None = None
        self.upstream_seconds = 0.0  # in which at least one call was in flight
        #: `EmbeddingRequest.calls`: where to record attempts, if an observer keeps them.
        self.records: list[tuple[Any, ...]] | None = None
        self._in_flight: list[tuple[float, float]] = []  # disjoint times (from, to), in order

    def count(self, attempt: Attempt) -> None:
        """Count an attempt that has ended or is abandoned, if a call was made for it."""
        self.calls += attempt.call_started_at is not None

    def record(
        self, part: Part, attempt: Attempt, result: Result | None, ended_at: float | None
    ) -> None:
        """Record an attempt that has ended; ``result`` None: it is abandoned."""
        if self.records is None or len(self.records) >= MAX_CALLS_RECORDED:
            return
        self.records.append(  # the values of a `CallRecord`, which costs five times as much
            (
                part.start,
                part.stop,
                attempt.deployment.source,
                attempt.queued_at,
                attempt.call_started_at,
                ended_at,
                "" if type(result) is Vectors else _failure(result),
                attempt.batch_size,
                attempt.is_hedge,
                attempt.is_probe,
            )
        )

    def add(self, attempts: list[Attempt], ended_at: float) -> None:
        """Add the time until now of the calls of one part: the union with those added before.

        The new interval takes the place of the last ones that it overlaps; results come in the
        order of time, so that it overlaps no others.
        """
        started_at: float | None = None
        for attempt in attempts:
            own = attempt.call_started_at
            if own is not None and (started_at is None or own < started_at):
                started_at = own
        if started_at is None:
            return
        while self._in_flight and self._in_flight[-1][1] >= started_at:
            other_started_at, other_ended_at = self._in_flight.pop()
            self.upstream_seconds -= other_ended_at - other_started_at
            started_at = min(started_at, other_started_at)
            ended_at = max(ended_at, other_ended_at)
        self._in_flight.append((started_at, ended_at))
        self.upstream_seconds += ended_at - started_at

    @property
    def queue_seconds(self) -> float:
        """Seconds from the first attempt to the last result in which no call was in flight."""
        if not self._in_flight or self.first_queued_at is None:
            return 0.0
        total_s = self._in_flight[-1][1] - self.first_queued_at
        return max(0.0, total_s - self.upstream_seconds)


def _failure(result: Result | None) -> str:
    """Return what a record says of an attempt without vectors."""
    if result is None:
        return ABANDONED
    if isinstance(result, ProviderError):
        return result.cause
    return (result.code or result.type) if isinstance(result, ClientError) else ""
