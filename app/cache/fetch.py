"""One request that waits for items in a single flight, in its own thread, and what it got."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from app.cache.load import Embedding, Load, Purchase, Waiter
from app.concurrency.locks import Wakeup
from app.concurrency.peer import CLIENT_LOOK_S
from app.domain import FROM_CACHE, Entry, Outcome, Source, Vectors, sum_purchases
from app.errors import ClientClosedRequest, DeadlineExceeded

if TYPE_CHECKING:
    from app.cache.singleflight import SingleFlight

#: Loads of other requests that may fail for an item, before a caller embeds it in an unshared load.
_MAX_SHARED_FAILURES = 2


class Fetch:
    """One call of `SingleFlight.fetch`: waits for loads, and drives their jobs meanwhile."""

    def __init__(
        self,
        flights: SingleFlight,
        embedding: Embedding,
        deadline: float,
        timeout: float,
        has_client_left: Callable[[], bool],
    ) -> None:
        self.collected = Collected()
        self._flights = flights
        self._embedding = embedding
        self._deadline = deadline
        self._timeout = timeout
        self._has_client_left = has_client_left
        self._wakeup = Wakeup()
        self._waiters: list[Waiter] = []
        self._failures = Counter[bytes]()  # of loads, by key

    def run(self, keys: Sequence[bytes]) -> None:
        """Wait until all keys are published. Raises as `SingleFlight.fetch`."""
        try:
            look_at = time.monotonic() + CLIENT_LOOK_S
            self._claim(keys)  # which may start many calls
            while not self._has_all():
                now = time.monotonic()
                if now >= self._deadline:
                    raise DeadlineExceeded.after(self._timeout)
                if now >= look_at:
                    look_at = now + CLIENT_LOOK_S
                    if self._has_client_left():
                        raise ClientClosedRequest.before_answer()
                self._wakeup.wait(min(self._drive(now), look_at) - time.monotonic())
        finally:
            for waiter in list(self._waiters):
                self._leave(waiter)

    def _claim(self, keys: Sequence[bytes]) -> None:
        """Join loads of these keys, or start one; unshared for keys that have failed too often."""
        alone = [key for key in keys if self._failures[key] >= _MAX_SHARED_FAILURES]
        shared = [key for key in keys if self._failures[key] < _MAX_SHARED_FAILURES]
        made: list[Waiter] = []
        flow = self._embedding.flow
        if shared:
            made += self._flights.claim(shared, self._deadline, self._wakeup, flow)
        if alone:
            made.append(self._flights.make_unshared(alone, self._deadline, self._wakeup, flow))
        self._waiters += made
        for waiter in made:
            if waiter.is_owner:
                self._start(waiter.load)

    def _has_all(self) -> bool:
        """Whether all keys are published; claims the keys of failed loads of others again."""
        has_all = True
        for waiter in list(self._waiters):
            if not waiter.missing:
                continue
            has_all = False
            if waiter.load.is_over:
                missing, is_owner = list(waiter.missing), waiter.is_owner
                self._leave(waiter)
                if is_owner and (error := waiter.load.error_of_owner) is not None:
                    raise error
                self._failures.update(missing)
                self._claim(missing)
        return has_all

    def _drive(self, now: float) -> float:
        """Advance the jobs of the loads; return the time at which to call this again."""
        wake_at = self._deadline
        for waiter in self._waiters:
            job = waiter.load.job
            if waiter.missing and not waiter.load.is_over and job is not None:
                wake_at = min(wake_at, job.advance(now))
        return wake_at

    def _start(self, own: Load) -> None:
        """Give a load its job."""
        flights, embedding = self._flights, self._embedding

        def on_part(begin: int, stop: int, vectors: Vectors, source: Source) -> None:
            flights.publish(own, begin, stop, vectors, source, embedding)

        def wake() -> None:
            job = own.job
            if job is not None and job.is_settled:
                flights.end(own, job.error)
            else:
                own.wake()

        try:
            own.job = embedding.make_job(own.keys, own.deadline, wake, on_part)
            # Requests may have joined the load before it had a job. `SingleFlight.claim` could not
            # tell the job of them, and they do not know when to advance it.
            for waiter in list(own.waiters):
                own.start_first(waiter)
            own.wake()
        except BaseException as error:
            flights.end(own, error)
            raise

    def _leave(self, waiter: Waiter) -> None:
        """Stop waiting for a load, and take its published items."""
        self._waiters.remove(waiter)
        job, is_owner = waiter.load.job, waiter.is_owner
        self._flights.leave(waiter, self.collected, time.monotonic())
        if job is not None:
            into = self.collected
            into.upstream_seconds = max(into.upstream_seconds, job.upstream_seconds)
            into.queue_seconds = max(into.queue_seconds, job.queue_seconds)
            if is_owner:
                into.attempts += job.attempts


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
