"""Joins the vectors of a request's parts in the order of its items. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from app.dispatch.job.call_times import CallTimes
from app.domain import Outcome, Source, Vectors


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
