"""A request's way from items to vectors: look up, claim, plan, dispatch, store, put back in order.

Knows neither HTTP nor JSON. What it promises: as many vectors as items, in the caller's order, all
from the model asked for, or an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from app.cache.keys import keys_of
from app.cache.memory import Cache, Caches
from app.dispatch import Dispatcher
from app.dispatch.dispatcher import Bell
from app.dispatch.flight import Claim, Flights, wait_for
from app.domain import KEPT, Caller, EmbeddingRequest, Entry, Outcome, Source, Vectors
from app.errors import BadRequest

#: How often items are claimed: after a load that somebody else began has failed, once more.
_CLAIMS = 2


class Pipeline:
    """Steps 5 to 7 of a request.

    ``caches`` None: caching is not configured. ``widths`` are those of the models that tell.
    """

    def __init__(
        self,
        dispatch: Dispatcher,
        caches: Caches | None,
        scope: str = "shared",
        widths: Mapping[str, int | None] | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._caches = caches
        self._widths = widths or {}
        self._per_key = scope == "key"
        self._flights = Flights()

    def run(self, request: EmbeddingRequest, caller: Caller, deadline: float) -> Outcome:
        """``deadline`` is of the monotonic clock, in seconds."""
        if not request.caching or self._caches is None:
            return self._dispatch.embed(request, deadline)
        cache = self._caches.of(
            request.model, request.dimensions or self._widths.get(request.model)
        )
        keys = keys_of(request, caller.name if self._per_key else "")
        found = dict(zip(keys, cache.get(keys), strict=True))
        cached = {key: entry for key, entry in found.items() if entry is not None}
        loaded = _Loaded()
        for attempt in range(1, _CLAIMS + 1):
            missing = [key for key in found if key not in cached and key not in loaded.entries]
            if not missing:
                break
            claim, bell = self._claim(cache, request, keys, missing, deadline)
            wait_for(claim, deadline, bell, request.timeout)
            loaded.take(claim, last=attempt == _CLAIMS)
        alone = [key for key in found if key not in cached and key not in loaded.entries]
        if alone:
            self._embed_alone(cache, request, keys, alone, deadline, loaded)
        return _outcome(keys, cached, loaded)

    def _embed_alone(
        self,
        cache: Cache,
        request: EmbeddingRequest,
        keys: list[bytes],
        alone: list[bytes],
        deadline: float,
        loaded: _Loaded,
    ) -> None:
        """Embed what was twice refused in the company of others' items, for their sake or ours."""
        outcome = self._dispatch.embed(_part(request, keys, alone), deadline)
        loaded.add(alone, outcome)
        cache.put((key, loaded.entries[key]) for key in alone)

    def _claim(
        self,
        cache: Cache,
        request: EmbeddingRequest,
        keys: list[bytes],
        missing: list[bytes],
        deadline: float,
    ) -> tuple[Claim, Bell]:
        bell = Bell()
        claim = self._flights.claim(missing, deadline, bell)
        if claim.own is not None:
            own = _part(request, keys, claim.own.keys)
            self._flights.run(
                claim.own,
                lambda until, wake: self._dispatch.start(own, until, wake),
                lambda entries: cache.put(entries.items()),
            )
        return claim, bell


class _Loaded:
    """What came of claims: entries, and the story of how they came."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.sources: dict[bytes, Source] = {}
        self.providers: list[str] = []
        self.attempts = 0
        self.upstream_seconds = 0.0
        self.estimated = False

    def take(self, claim: Claim, last: bool) -> None:
        """Raises the error of the own load; that of another's only where this was the ``last``.

        Never another's 400: that may be for an item which is not among ours.
        """
        for load in claim.loads:
            ours = load is claim.own
            if load.error is not None and (
                ours or (last and not isinstance(load.error, BadRequest))
            ):
                raise load.error
            if load.outcome is not None:
                self.add(load.keys, load.outcome, counted=ours)

    def add(self, keys: Sequence[bytes], outcome: Outcome, counted: bool = True) -> None:
        """What came for keys. ``counted``: its attempts were made for this request."""
        vectors = outcome.vectors
        for key, row, tokens in zip(keys, vectors.rows, vectors.tokens, strict=True):
            self.entries[key] = Entry(row, tokens)
        if len(outcome.sources) > 1:
            self.sources.update(zip(keys, outcome.sources, strict=True))
        else:
            self.sources.update((key, source) for source in outcome.sources for key in keys)
        self.estimated |= vectors.estimated
        self.upstream_seconds = max(self.upstream_seconds, outcome.upstream_seconds)
        for name in outcome.provider.split(","):
            if name not in self.providers:
                self.providers.append(name)
        if counted:
            self.attempts += outcome.attempts


def _part(
    request: EmbeddingRequest, keys: Sequence[bytes], wanted: Sequence[bytes]
) -> EmbeddingRequest:
    """The request for the items of some of its keys."""
    place = {key: i for i, key in enumerate(keys)}
    return replace(request, items=[request.items[place[key]] for key in wanted])


def _outcome(keys: list[bytes], cached: dict[bytes, Entry], loaded: _Loaded) -> Outcome:
    entries = [cached.get(key) or loaded.entries[key] for key in keys]
    kind: Literal["hit", "partial", "miss"] = (
        "hit" if not loaded.entries else "partial" if cached else "miss"
    )
    sources = list(dict.fromkeys(loaded.sources.values()))
    if len(sources) > 1:
        sources = [loaded.sources.get(key, KEPT) for key in keys]
    return Outcome(
        Vectors([e.row for e in entries], [e.tokens for e in entries], loaded.estimated),
        provider=",".join(loaded.providers),
        attempts=loaded.attempts,
        upstream_seconds=loaded.upstream_seconds,
        cache=kind,
        cached_tokens=sum(cached[key].tokens for key in keys if key in cached),
        sources=sources,
    )
