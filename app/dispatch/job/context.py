"""What files of a job share: the values of its request, the flow of its parts, and its effects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from msgspec import Struct, field

from app.concurrency.deadline import Deadline
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.preparation import Prepared
from app.dispatch.events import Events
from app.dispatch.queue.attempts import Attempt, kind_of
from app.dispatch.queue.batch import Batch
from app.domain import EmbeddingRequest, Flow, Source, Vectors

if TYPE_CHECKING:
    from app.dispatch.job.part import Part

#: Called with each part that has its vectors: (start, stop, vectors, the deployment they are from).
OnPart = Callable[[int, int, Vectors, Source], None]

_MIN_TIME_FOR_CALL_S = 0.1  # with less time left, a call beside a late one comes too late

#: Names of the sizes up to 1, 8, 64, 512 … items, by the bits of the number of items less 1. No end
#: user has such a name.
_SIZES = [f"\0{8 ** -(-bits // 3)}" for bits in range(64)]


class JobDeadline(Deadline):
    """The latest deadline of the callers that wait for a job; it also knows the soonest one.

    The job ends at the latest. By the soonest it is decided when a call is late.

    It belongs to a job, under whose lock it is changed.
    """

    __slots__ = ("_deadlines", "_deadlines_of")

    def __init__(self, at: float) -> None:
        super().__init__(at)
        self._deadlines = [at]  # of the callers that wait for all items, the soonest first
        #: Of the others, by the position of each item; None until there is one.
        self._deadlines_of: dict[int, list[float]] | None = None

    def add_caller(self, at: float, positions: Sequence[int] | None) -> None:
        """Add a caller that waits until then for the items at some positions; None: for all."""
        self.extend(at)
        if positions is not None:
            deadlines_of = self._deadlines_of = self._deadlines_of or {}
            for position in positions:
                heappush(deadlines_of.setdefault(position, []), at)
        elif at != self._deadlines[0]:
            heappush(self._deadlines, at)

    def soonest(self, now: float, start: int, stop: int) -> float:
        """Return when the first caller leaves that waits for one of the items.

        Callers that have no time for another call are left out; where all are, it is the end of
        the job.
        """
        until = now + _MIN_TIME_FOR_CALL_S
        while len(self._deadlines) > 1 and self._deadlines[0] < until:
            heappop(self._deadlines)
        soonest = self._deadlines[0]
        if soonest < until:  # they have left; the others wait for some of the items
            soonest = self.at
        if self._deadlines_of is not None:
            for position in range(start, stop):
                deadlines = self._deadlines_of.get(position)
                while deadlines and deadlines[0] < until:
                    heappop(deadlines)
                if deadlines:
                    soonest = min(soonest, deadlines[0])
        return soonest


class JobContext(Struct):
    """The values of a request, which all files of its job read. Only its deadline may change."""

    request: EmbeddingRequest
    pool: Pool
    prepared: Prepared
    deadline: JobDeadline
    events: Events
    is_hedged: bool
    kind: Hashable = None  # of the request: see `kind_of`

    def __post_init__(self) -> None:
        self.kind = kind_of(self.request, None)

    @property
    def suitable(self) -> Sequence[Deployment]:
        """The deployments that can serve the request, whatever their health."""
        return self.prepared.suitable


class Effects(Struct):
    """Actions that a job collects under its lock, and performs after it has released the lock."""

    send: list[Batch] = field(default_factory=list)
    cancel: list[Batch] = field(default_factory=list)  # calls that no request waits for any more
    #: Attempts that get `NotSent`, and why.
    not_sent: list[tuple[Attempt, str]] = field(default_factory=list)
    refuted: list[Attempt] = field(default_factory=list)  # got a 400 for what another embedded
    answered: list[tuple[Part, Vectors, Source]] = field(default_factory=list)  # to be published
    reports: list[Callable[[], None]] = field(default_factory=list)  # to observers
    bug: Exception | None = None  # which ended the request: to be logged

    def take(self) -> Effects | None:
        """Remove and return what was collected; None where that is nothing."""
        lists = self.send, self.cancel, self.not_sent, self.refuted, self.answered, self.reports
        if not any(lists) and self.bug is None:
            return None
        taken = Effects(*lists, self.bug)
        self.send, self.cancel, self.not_sent = [], [], []
        self.refuted, self.answered, self.reports, self.bug = [], [], [], None
        return taken


def with_size(flow: Flow, items: int) -> Flow:
    """Return the flow of a request of so many items, for its attempts to wait in.

    Where the key does not divide its share among end users, it divides it among sizes of requests,
    so that its small requests do not wait until all its large ones have left.
    """
    if flow.user:
        return flow
    return Flow(flow.key, flow.share, flow.tier, _SIZES[(items - 1).bit_length()])
