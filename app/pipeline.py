"""A request's way from items to vectors: look up, claim, plan, dispatch, store, put back in order.

Knows neither HTTP nor JSON. What it promises: as many vectors as items, in the caller's order, all
from the model asked for, or an exception.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from app.cache.keys import keys_of
from app.cache.memory import Cache
from app.dispatch import Dispatcher
from app.dispatch.dispatcher import Bell
from app.dispatch.flight import Claim, Flights, wait_for
from app.domain import Caller, EmbeddingRequest, Entry, Outcome, Vectors

#: How often items are claimed: after a load that somebody else began has failed, once more.
_CLAIMS = 2


class Pipeline:
    """Steps 5 to 7 of a request. ``cache`` None: caching is not configured."""

    def __init__(self, dispatch: Dispatcher, cache: Cache | None, scope: str = "shared") -> None:
        self._dispatch = dispatch
        self._cache = cache
        self._per_key = scope == "key"
        self._flights = Flights()

    def run(self, request: EmbeddingRequest, caller: Caller, deadline: float) -> Outcome:
        """``deadline`` is of the monotonic clock, in seconds."""
        if not request.caching or self._cache is None:
            return self._dispatch.embed(request, deadline)
        keys = keys_of(request, caller.name if self._per_key else "")
        found = dict(zip(keys, self._cache.get(keys), strict=True))
        cached = {key: entry for key, entry in found.items() if entry is not None}
        loaded = _Loaded()
        for attempt in range(1, _CLAIMS + 1):
            missing = [key for key in found if key not in cached and key not in loaded.entries]
            if not missing:
                break
            claim, bell = self._claim(request, keys, missing, deadline)
            wait_for(claim, deadline, bell, request.timeout)
            loaded.take(claim, last=attempt == _CLAIMS)
        return _outcome(keys, cached, loaded)

    def _claim(
        self, request: EmbeddingRequest, keys: list[bytes], missing: list[bytes], deadline: float
    ) -> tuple[Claim, Bell]:
        cache, bell = self._cache, Bell()
        assert cache is not None  # noqa: S101 - nothing is claimed without a cache
        claim = self._flights.claim(missing, deadline, bell)
        if claim.own is not None:
            place = {key: i for i, key in enumerate(keys)}
            own = replace(request, items=[request.items[place[key]] for key in claim.own.keys])
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
        self.providers: list[str] = []
        self.attempts = 0
        self.upstream_seconds = 0.0
        self.estimated = False

    def take(self, claim: Claim, last: bool) -> None:
        """Raises the error of the own load; that of another's only where this was the ``last``."""
        for load in claim.loads:
            if load.error is not None and (last or load is claim.own):
                raise load.error
            if load.outcome is None:
                continue
            self.entries |= load.entries
            self.estimated |= load.outcome.vectors.estimated
            self.upstream_seconds = max(self.upstream_seconds, load.outcome.upstream_seconds)
            if load.outcome.provider not in self.providers:
                self.providers.append(load.outcome.provider)
            if load is claim.own:
                self.attempts += load.outcome.attempts


def _outcome(keys: list[bytes], cached: dict[bytes, Entry], loaded: _Loaded) -> Outcome:
    entries = [cached.get(key) or loaded.entries[key] for key in keys]
    kind: Literal["hit", "partial", "miss"] = (
        "hit" if not loaded.entries else "partial" if cached else "miss"
    )
    return Outcome(
        Vectors([e.row for e in entries], [e.tokens for e in entries], loaded.estimated),
        provider=",".join(loaded.providers),
        attempts=loaded.attempts,
        upstream_seconds=loaded.upstream_seconds,
        cache=kind,
        cached_tokens=sum(cached[key].tokens for key in keys if key in cached),
    )
