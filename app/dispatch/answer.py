"""Putting together what came of a request's parts, in the order of its items. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain import Outcome, Source, Vectors


class Answer:
    """The vectors of ``size`` items; each part of them is `put` once, in any order."""

    def __init__(self, size: int) -> None:
        self._missing = self._size = size
        self._rows: list[bytes] = [b""] * size
        self._tokens = [0] * size
        self._estimated = False
        self._parts: dict[int, tuple[int, Source]] = {}  # start of a part → its stop, by whom

    @property
    def begun(self) -> bool:
        return self._missing < self._size

    @property
    def complete(self) -> bool:
        return not self._missing

    def put(self, start: int, stop: int, vectors: Vectors, source: Source) -> None:
        """What came for the items from ``start`` up to ``stop``, and from whom.

        `ValueError` where it is not as many: providers are checked before, so it is a bug.
        """
        if len(vectors.rows) != stop - start or len(vectors.tokens) != stop - start:
            raise ValueError(f"{len(vectors.rows)} vectors for {stop - start} items")
        self._rows[start:stop] = vectors.rows
        self._tokens[start:stop] = vectors.tokens
        self._estimated |= vectors.estimated
        self._missing -= stop - start
        self._parts[start] = (stop, source)

    def outcome(self, attempts: int, upstream_seconds: float) -> Outcome:
        """All of it, once it is complete."""
        return Outcome(
            Vectors(self._rows, self._tokens, self._estimated),
            provider=",".join(dict.fromkeys(name for _, (name, _) in self._parts.values())),
            attempts=attempts,
            upstream_seconds=upstream_seconds,
            sources=self._sources(),
        )

    def _sources(self) -> Sequence[Source]:
        """Who embedded each row, or the one who embedded all."""
        if len({source for _, source in self._parts.values()}) == 1:
            return [next(iter(self._parts.values()))[1]]
        parts = sorted(self._parts.items())
        return [source for start, (stop, source) in parts for _ in range(start, stop)]
