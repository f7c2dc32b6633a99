"""The values of a single flight: loads, their published items, and their waiters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from app.concurrency.locks import Wakeup
from app.domain import NO_FLOW, Entry, Flow, Source, Vectors
from app.errors import RateLimited


class Job(Protocol):
    """Embeds the items of a load: see `app.dispatch.job.job.Job`."""

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

    def extend(self, deadline: float, positions: Sequence[int] | None = None) -> None: ...

    def advance(self, now: float) -> float: ...

    def start_first(self, positions: Sequence[int], flow: Flow) -> None: ...

    def keep_only(self, positions: Sequence[int], now: float) -> Sequence[tuple[int, int]]: ...

    def cancel(self, now: float) -> None: ...


Entries = Sequence[tuple[bytes, Entry]]
OnPart = Callable[[int, int, Vectors, Source], None]


class Embedding(Protocol):
    """Embeds, checks and stores the items of one request, for `SingleFlight.fetch`."""

    @property
    def flow(self) -> Flow:
        """The flow of the request."""

    def make_job(
        self, keys: Sequence[bytes], deadline: float, wake: Callable[[], None], on_part: OnPart
    ) -> Job:
        """Return a job for the items of these keys. Raises `ClientError`."""

    def verify(self, entries: Entries) -> None:
        """Check entries before any caller gets them. Raises `ClientError`."""

    def store(self, entries: Entries) -> None:
        """Put entries into the cache."""

    def charge_later(self, source: Source, tokens: int) -> None:
        """Charge tokens to a later request of this key: no request waits for what they bought."""


@dataclass(slots=True)
class Published:
    """An item of a load that has its vector."""

    entry: Entry
    source: Source
    is_estimated: bool


class Purchase(NamedTuple):
    """Items of a load that were embedded together, and the tokens that were billed for them."""

    keys: Sequence[bytes]
    source: Source
    tokens: int


@dataclass(slots=True, eq=False)
class Load:
    """Items that are embedded together. `SingleFlight`'s lock guards all fields."""

    keys: Sequence[bytes]
    deadline: float
    flow: Flow = NO_FLOW  # of its owner
    owner: Waiter | None = None
    job: Job | None = None
    waiters: list[Waiter] = field(default_factory=list)
    published: dict[bytes, Published] = field(default_factory=dict)
    unpaid: list[Purchase] = field(default_factory=list)
    stopped: set[bytes] = field(default_factory=set)  # no request waited for them any more
    is_over: bool = False
    error: BaseException | None = None
    is_hastened: bool = False  # a request of a better tier than the owner's has joined it
    _position_of: dict[bytes, int] | None = None  # of each item, once it is needed

    def add_waiter(
        self, wakeup: Wakeup, wanted: Sequence[bytes], flow: Flow, deadline: float
    ) -> Waiter:
        """Let a request wait for some of the items."""
        waiter = Waiter(self, wakeup, wanted, set(wanted), flow, deadline)
        self.waiters.append(waiter)
        return waiter

    @property
    def error_of_owner(self) -> BaseException | None:
        """The error that the owner gets; None where the load has none, or has that of a joiner.

        In a load that a better tier has hastened, flex does not wait until a rest after a 429 ends.
        """
        is_of_joiner = self.is_hastened and isinstance(self.error, RateLimited)
        return None if is_of_joiner else self.error

    def missed(self) -> set[bytes]:
        """Return the items that a waiter waits for."""
        return set[bytes]().union(*(waiter.missing for waiter in self.waiters))

    def positions(self, keys: Collection[bytes]) -> list[int]:
        """Return the positions of some items in ascending order."""
        if self._position_of is None:
            self._position_of = {key: position for position, key in enumerate(self.keys)}
        return sorted(self._position_of[key] for key in keys)

    def start_first(self, waiter: Waiter) -> None:
        """Let the job start the items of a waiter first that has joined the load, in its time."""
        is_better = waiter.flow.goes_before(self.flow)
        self.is_hastened |= is_better
        if self.job is None:
            return
        is_for_some = len(waiter.wanted) < len(self.keys)
        positions = self.positions(waiter.wanted) if is_for_some or is_better else None
        self.job.extend(waiter.deadline, positions if is_for_some else None)
        if positions is not None:
            self.job.start_first(positions, waiter.flow)

    def take_unpaid(self, waiter: Waiter) -> Sequence[Purchase]:
        """Remove and return the purchases that a waiter pays for which has left the load.

        There are three cases: (1) the owner is still waiting: nothing, as the owner will pay;
        (2) the waiter is the owner: all purchases so far; (3) the owner has left before: those with
        an item that the waiter wanted, and those with no item that another waiter wants, since this
        one has kept the load going.
        """
        if self.owner is not None and not waiter.is_owner:
            return ()
        unpaid, self.unpaid = self.unpaid, []
        if waiter.is_owner:
            return unpaid
        own, others = set(waiter.wanted), set[bytes]()
        others = others.union(*(other.wanted for other in self.waiters))
        due: list[Purchase] = []
        for purchase in unpaid:
            is_due = others.isdisjoint(purchase.keys) or not own.isdisjoint(purchase.keys)
            (due if is_due else self.unpaid).append(purchase)
        return due

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
    flow: Flow
    deadline: float

    @property
    def is_owner(self) -> bool:
        return self.load.owner is self
