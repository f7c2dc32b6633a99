"""A request's way from items to vectors: look up, claim, plan, dispatch, store, put back in order.

Knows neither HTTP nor JSON. What it promises: as many vectors as items, in the caller's order, all
from the model asked for, or an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from app.cache.keys import keys_of
from app.cache.memory import Cache, Entry
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors


class Dispatch(Protocol):
    """Gets vectors from whoever can give them; see `app.dispatch`."""

    def embed(self, request: EmbeddingRequest, deadline: float) -> Outcome:
        """Vectors for the request's items, in order, by ``deadline``; or a `ClientError`."""


class Pipeline:
    """Steps 5 to 7 of a request. ``cache`` None: caching is not configured."""

    def __init__(self, dispatch: Dispatch, cache: Cache | None, scope: str = "shared") -> None:
        self._dispatch = dispatch
        self._cache = cache
        self._per_key = scope == "key"

    def run(self, request: EmbeddingRequest, caller: Caller, deadline: float) -> Outcome:
        """``deadline`` is of the monotonic clock, in seconds."""
        if not request.caching or self._cache is None:
            return self._dispatch.embed(request, deadline)
        keys = keys_of(request, caller.name if self._per_key else "")
        found = self._cache.get(keys)
        missing = [i for i, entry in enumerate(found) if entry is None]
        if not missing:
            return _joined(found, "hit")
        fresh = self._dispatch.embed(
            replace(request, items=[request.items[i] for i in missing]), deadline
        )
        entries = [
            Entry(row, tokens)
            for row, tokens in zip(fresh.vectors.rows, fresh.vectors.tokens, strict=True)
        ]
        self._cache.put((keys[i], entry) for i, entry in zip(missing, entries, strict=True))
        cached_tokens = sum(entry.tokens for entry in found if entry is not None)
        for i, entry in zip(missing, entries, strict=True):
            found[i] = entry
        joined = _joined(found, "miss" if len(missing) == len(keys) else "partial")
        return replace(
            joined,
            vectors=replace(joined.vectors, estimated=fresh.vectors.estimated),
            provider=fresh.provider,
            attempts=fresh.attempts,
            upstream_seconds=fresh.upstream_seconds,
            cached_tokens=cached_tokens,
        )


def _joined(entries: Sequence[Entry | None], cache: str) -> Outcome:
    rows = [entry.row for entry in entries if entry is not None]
    tokens = [entry.tokens for entry in entries if entry is not None]
    assert len(rows) == len(entries)  # noqa: S101 - a vector missing here is a bug, never an answer
    return Outcome(
        Vectors(rows, tokens),
        cache=cache,  # type: ignore[arg-type]
        cached_tokens=sum(tokens),
    )
