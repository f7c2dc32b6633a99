"""What all files of a job use: the values of its request that do not change, and its effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from app.concurrency.deadline import Deadline
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.preparation import Prepared
from app.dispatch.events import Events
from app.dispatch.queue.attempts import Attempt
from app.dispatch.queue.batch import Batch
from app.domain import EmbeddingRequest, Source, Vectors

if TYPE_CHECKING:
    from app.dispatch.job.part import Part

#: Called with each part that has its vectors: (start, stop, vectors, the deployment they are from).
OnPart = Callable[[int, int, Vectors, Source], None]


class JobContext(Struct):
    """The values of a request that do not change while it is in dispatch."""

    request: EmbeddingRequest
    pool: Pool
    prepared: Prepared
    deadline: Deadline
    events: Events
    is_hedged: bool

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

    def take(self) -> Effects | None:
        """Remove and return what was collected; None where that is nothing."""
        if not (self.send or self.cancel or self.not_sent or self.refuted or self.answered):
            return None
        taken = Effects(self.send, self.cancel, self.not_sent, self.refuted, self.answered)
        self.send, self.cancel, self.not_sent = [], [], []
        self.refuted, self.answered = [], []
        return taken
