"""What one request got from the loads of a single flight, and its outcome with what was cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.cache.load import Purchase, Waiter
from app.domain import FROM_CACHE, Entry, Outcome, Source, Vectors, sum_purchases


@dataclass(slots=True)
class Collected:
    """The entries that one request got from loads, their sources and their costs."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    sources: dict[bytes, Source] = field(default_factory=dict)
    purchases: dict[Source, int] = field(default_factory=dict)  # tokens
    attempts: int = 0  # calls made for this request
    upstream_seconds: float = 0.0
    queue_seconds: float = 0.0
    is_estimated: bool = False

    def take(self, waiter: Waiter) -> None:
        """Copy the published entries that a waiter wants."""
        for key in waiter.wanted:
            published = waiter.load.published.get(key)
            if published is not None:
                self.entries[key] = published.entry
                self.sources[key] = published.source
                self.is_estimated |= published.is_estimated

    def update(self, later: Collected) -> None:
        """Add what the same request got later; its entries replace those of the same keys."""
        self.entries |= later.entries
        self.sources |= later.sources
        self.purchases = sum_purchases(self.purchases, later.purchases)
        self.attempts += later.attempts
        self.upstream_seconds += later.upstream_seconds
        self.queue_seconds += later.queue_seconds
        self.is_estimated |= later.is_estimated

    def pay(self, purchases: Iterable[Purchase]) -> None:
        """Count items as bought by this request."""
        for _, source, tokens in purchases:
            self.purchases[source] = self.purchases.get(source, 0) + tokens

    def outcome(self, keys: Sequence[bytes], cached: Mapping[bytes, Entry]) -> Outcome:
        """Return the entries of keys in their order, where those ``cached`` came from the cache."""
        entries = [cached.get(key) or self.entries[key] for key in keys]
        kind: Literal["hit", "partial", "miss"] = (
            "hit" if not self.entries else "partial" if cached else "miss"
        )
        sources = list(dict.fromkeys(self.sources.values()))
        providers = dict.fromkeys(name for name, _ in sources)
        if len(sources) > 1:
            sources = [self.sources.get(key, FROM_CACHE) for key in keys]
        return Outcome(
            Vectors([e.row for e in entries], [e.tokens for e in entries], self.is_estimated),
            provider=",".join(providers),
            attempts=self.attempts,
            upstream_seconds=self.upstream_seconds,
            queue_seconds=self.queue_seconds,
            cache=kind,
            cached_tokens=sum(cached[key].tokens for key in keys if key in cached),
            sources=sources,
            purchases=self.purchases,
        )
