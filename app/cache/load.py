"""The values of a single flight: loads, their published items, and their waiters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.concurrency.wakeup import Wakeup
from app.domain import Entry, Source, Vectors


class Job(Protocol):
    """Embeds the items of a load: see `app.dispatch.job.Job`."""

    @property
    def error(self) -> BaseException | None: ...

    @property
    def is_settled(self) -> bool: ...

    @property
    def attempts(self) -> int: ...

    @property
    def upstream_seconds(self) -> float: ...

    @property
    def queue_seconds(self) -> float: ...

    def extend(self, deadline: float) -> None: ...

    def advance(self, now: float) -> float: ...

    def cancel(self, now: float) -> None: ...


Entries = Sequence[tuple[bytes, Entry]]
OnPart = Callable[[int, int, Vectors, Source], None]


class Embedding(Protocol):
    """Embeds, checks and stores the items of one request, for `SingleFlight.fetch`."""

    def start(
        self, keys: Sequence[bytes], deadline: float, wake: Callable[[], None], on_part: OnPart
    ) -> Job:
        """Return a job for the items of these keys. Raises `ClientError`."""

    def verify(self, entries: Entries) -> None:
        """Check entries before any caller gets them. Raises `ClientError`."""

    def store(self, entries: Entries) -> None:
        """Put entries into the cache."""


@dataclass(slots=True)
class Published:
    """An item of a load that has its vector."""

    entry: Entry
    source: Source
    is_estimated: bool
    is_paid: bool = False  # counted as bought by a request


@dataclass(slots=True, eq=False)
class Load:
    """Items that are embedded together. `SingleFlight`'s lock guards all fields."""

    keys: Sequence[bytes]
    deadline: float
    owner: Waiter | None = None
    job: Job | None = None
    waiters: list[Waiter] = field(default_factory=list)
    published: dict[bytes, Published] = field(default_factory=dict)
    is_over: bool = False
    error: BaseException | None = None

    def add_waiter(self, wakeup: Wakeup, wanted: Sequence[bytes]) -> Waiter:
        """Let a request wait for some of the items."""
        waiter = Waiter(self, wakeup, wanted, set(wanted))
        self.waiters.append(waiter)
        return waiter

    def wake(self) -> None:
        """Wake all waiters, so that they check the load again."""
        for waiter in list(self.waiters):
            waiter.wakeup.set()


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for some items of a load."""

    load: Load
    wakeup: Wakeup
    wanted: Sequence[bytes]
    missing: set[bytes]  # those of them that are not published

    @property
    def is_owner(self) -> bool:
        return self.load.owner is self


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
        for source, tokens in later.purchases.items():
            self.purchases[source] = self.purchases.get(source, 0) + tokens
        self.attempts += later.attempts
        self.upstream_seconds += later.upstream_seconds
        self.queue_seconds += later.queue_seconds
        self.is_estimated |= later.is_estimated

    def pay(self, load: Load) -> None:
        """Count the published items of a load that are not paid yet as bought by this request."""
        for published in load.published.values():
            if not published.is_paid:
                published.is_paid = True
                tokens = self.purchases.get(published.source, 0) + published.entry.tokens
                self.purchases[published.source] = tokens
