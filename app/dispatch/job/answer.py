"""The answer of a request: the vectors of its parts, and the times of its calls. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.dispatch.queue.attempts import Attempt, Result
from app.domain import Outcome, Source, Vectors
from app.errors import ClientError, ProviderError

if TYPE_CHECKING:
    from app.dispatch.job.part import Part

#: Records of one request: a request of 8,192 items may have more calls.
MAX_CALLS_RECORDED = 100
ABANDONED = "abandoned"


class Answer:
    """Collects the vectors of ``size`` items. Each item is put once; parts come in any order."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._rows: list[bytes] = [b""] * size
        self._tokens = [0] * size
        self._estimated = False
        self._is_partial = False  # some items were given up
        self._parts: dict[int, tuple[int, Source]] = {}  # start of a part → its stop, deployment
        self.width: int | None = None  # bytes of each row, once one is there
        self.purchases: dict[Source, int] = {}  # tokens, by deployment
        self.has_vectors = self.is_complete = False

    def fits(self, vectors: Vectors) -> bool:
        """Whether the rows are as wide as the rows of earlier parts."""
        return self.width is None or set(map(len, vectors.rows)) == {self.width}

    def put(self, start: int, stop: int, vectors: Vectors, source: Source) -> None:
        """Store the vectors of the items from ``start`` up to ``stop``, and their deployment.

        Raises `ValueError` for another number of vectors, an empty vector, or an item that has its
        vector already: a bug of the proxy.
        """
        if len(vectors.rows) != stop - start or len(vectors.tokens) != stop - start:
            raise ValueError(f"{len(vectors.rows)} vectors for {stop - start} items")
        if any(self._rows[start:stop]):
            raise ValueError("an item has a vector already")
        if not all(vectors.rows):
            raise ValueError("an empty vector")
        self._rows[start:stop] = vectors.rows
        self._tokens[start:stop] = vectors.tokens
        self._estimated |= vectors.estimated
        self._missing -= stop - start
        self.has_vectors, self.is_complete = True, not self._missing
        self._parts[start] = (stop, source)
        self.width = len(vectors.rows[0])
        self.purchases[source] = self.purchases.get(source, 0) + sum(vectors.tokens)

    def give_up(self, start: int, stop: int) -> None:
        """Count items as not missing although they get no vectors: no request waits for them."""
        self._missing -= stop - start
        self._is_partial, self.is_complete = True, not self._missing

    def outcome(self, times: CallTimes) -> Outcome:
        """Return the vectors of all items; only once the answer is complete."""
        assert self.is_complete
        assert not self._is_partial
        return Outcome(
            Vectors(self._rows, self._tokens, self._estimated),
            provider=self._providers(),
            attempts=times.calls,
            upstream_seconds=times.upstream_seconds,
            queue_seconds=times.queue_seconds,
            sources=self._sources(),
            purchases=self.purchases,
        )

    def _providers(self) -> str:
        """Return the names of the providers, in the order of their first answers."""
        if len(self.purchases) == 1:
            ((name, _),) = self.purchases
            return name
        return ",".join(dict.fromkeys(name for name, _ in self.purchases))

    def _sources(self) -> Sequence[Source]:
        """Return the deployment of each row; a list of one where it is the same for all."""
        if len(self.purchases) == 1:
            return list(self.purchases)
        parts = sorted(self._parts.items())
        return [source for start, (stop, source) in parts for _ in range(start, stop)]


class CallTimes:
    """Counts the calls of a request, and adds up their times. No I/O, no lock.

    Calls run side by side, so that their times overlap: a time counts once, as upstream where at
    least one call was in flight, else as queue. So a pause before a retry counts as queue.
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
        if attempt.call_started_at is not None:
            self.calls += 1

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

    def add_time(self, attempts: list[Attempt], ended_at: float) -> None:
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
