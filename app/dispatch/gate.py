"""The gate before a provider: so many calls at once, and what waits leaves together.

A group commit: a ticket that finds a free slot leaves at once; those that come while all slots are
busy leave together in the next call, as many as agree and fit. Idle adds no wait, load makes
batches. Leaving takes a moment, in which a batch is *boarding*: from when a slot is taken until its
carrier runs, others that agree may still get on, and wait no longer for that. No I/O here: `Gate`
says what leaves, its caller carries it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from app.deadline import Deadline
from app.domain import Call, Vectors
from app.errors import ProviderError
from app.mutex import mutex

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment


class NotSent(ProviderError):
    """The deployment was ejected while the ticket waited: nothing was asked, choose again."""

    transient = True
    cause = "not_sent"


@dataclass(slots=True, eq=False)
class Ticket:
    """Some items of one caller on their way to one deployment.

    Tickets leave together where ``deployment`` and ``group`` are equal; ``group`` None leaves
    alone. ``deliver`` is called once with the ticket, its ``result`` set, from any thread.
    """

    deployment: Deployment
    call: Call
    group: Hashable | None
    tokens: int  # expected, of all its items
    deadline: float  # of the monotonic clock: nobody waits for it after that
    deliver: Callable[[Ticket], None]
    wanted: int | None = None  # width to cut to
    probe: bool = False
    submitted: float = 0.0  # when it came to the gate
    state: Literal["new", "waiting", "away", "withdrawn", "abandoned", "done"] = "new"
    result: Vectors | ProviderError | BaseException | None = None
    batch: Batch | None = None  # while it has no result: a circle is left to the collector
    company: int = 1  # tickets that left with it, itself among them; known with the result

    @property
    def size(self) -> int:
        return len(self.call.items)


@dataclass(slots=True, eq=False)
class Batch:
    """Tickets that leave in one call, and the time by which somebody still waits for it.

    Its carrier calls `Gate.depart` before it looks at the tickets.
    """

    tickets: list[Ticket]
    deadline: Deadline
    key: Hashable
    inputs: int
    tokens: int
    latest: float = float("inf")  # when the provider's own timeout ends the call

    @property
    def deployment(self) -> Deployment:
        return self.tickets[0].deployment

    def leave(self, now: float) -> None:
        """The call begins."""
        self.latest = now + self.deployment.timeout
        self.deadline.at = min(self.deadline.at, self.latest)

    def extend(self, deadline: float) -> None:
        """Somebody more patient waits for it."""
        self.deadline.extend(min(deadline, self.latest))


class Gate:
    """The slots of one provider. The lock guards everything; nothing waits under it."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._free = slots
        self._queues: dict[Hashable, deque[Ticket]] = {}  # in the order in which they began
        self._boarding: dict[Hashable, Batch] = {}
        self._away: dict[Deployment, int] = {}  # calls under way
        self._outstanding: dict[Deployment, int] = {}  # tickets that wait or are away
        self.waiting = 0  # tickets
        self._lock = mutex()

    def submit(self, ticket: Ticket) -> Batch | None:
        """The batch to carry now, if any; else the ticket boards one or waits for `finish`."""
        # Tickets that may not be merged wait in a queue of their own.
        key = (ticket.deployment, ticket.group) if ticket.group is not None else ticket
        deployment = ticket.deployment
        with self._lock:
            self._outstanding[deployment] = self._outstanding.get(deployment, 0) + 1
            boarding = self._boarding.get(key)
            if boarding is not None and self._board(boarding, ticket):
                return None
            if self._free and not self.waiting and self._has_slot(deployment):
                return self._leave(key, [ticket], ticket.size, ticket.tokens)
            ticket.state = "waiting"
            self._queues.setdefault(key, deque()).append(ticket)
            self.waiting += 1
            # With a slot free, others wait only for a deployment's own limit: not for this one's.
            return self._next() if self._free else None

    def depart(self, batch: Batch) -> None:
        """Nobody boards the batch from now on."""
        with self._lock:
            if self._boarding.get(batch.key) is batch:
                del self._boarding[batch.key]

    def finish(self, batch: Batch) -> Batch | None:
        """A call has ended: give its slot to what has waited longest, or free it."""
        deployment = batch.deployment
        with self._lock:
            self._free += 1
            self._away[deployment] -= 1
            self._outstanding[deployment] -= len(batch.tickets)
            return self._next() if self.waiting else None

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a waiting ticket out; False where it is away or done."""
        with self._lock:
            if ticket.state != "waiting":
                return False
            ticket.state = "withdrawn"  # its place in the queue is skipped later
            self.waiting -= 1
            self._outstanding[ticket.deployment] -= 1
            return True

    def abandon(self, ticket: Ticket) -> bool:
        """Nobody waits for a ticket that is away; whether its call is nobody's at all now."""
        with self._lock:
            ticket.state = "abandoned"
            batch = ticket.batch
            return (
                batch is not None
                and self._boarding.get(batch.key) is not batch
                and not any(t.state == "away" for t in batch.tickets)
            )

    def flush(self, deployment: Deployment) -> list[Ticket]:
        """Take out all that wait for a deployment."""
        with self._lock:
            flushed = []
            for queue in self._queues.values():
                if queue[0].deployment is deployment:
                    flushed += [t for t in queue if t.state == "waiting"]
            for ticket in flushed:
                ticket.state = "withdrawn"
            self.waiting -= len(flushed)
            if flushed:
                self._outstanding[deployment] -= len(flushed)
            return flushed

    def outstanding(self, deployment: Deployment) -> int:
        """Tickets of a deployment that wait or are away."""
        return self._outstanding.get(deployment, 0)

    def _has_slot(self, deployment: Deployment) -> bool:
        limit = deployment.concurrency
        return limit is None or self._away.get(deployment, 0) < limit

    def _leave(self, key: Hashable, tickets: list[Ticket], inputs: int, tokens: int) -> Batch:
        self._free -= 1
        deployment = tickets[0].deployment
        self._away[deployment] = self._away.get(deployment, 0) + 1
        deadline = Deadline(max(ticket.deadline for ticket in tickets))
        batch = self._boarding[key] = Batch(tickets, deadline, key, inputs, tokens)
        for ticket in tickets:
            ticket.state = "away"
            ticket.batch = batch
        return batch

    @staticmethod
    def _board(batch: Batch, ticket: Ticket) -> bool:
        inputs, tokens = batch.inputs + ticket.size, batch.tokens + ticket.tokens
        if not batch.deployment.takes(inputs, tokens):
            return False
        batch.inputs, batch.tokens = inputs, tokens
        batch.tickets.append(ticket)
        batch.deadline.extend(ticket.deadline)
        ticket.state = "away"
        ticket.batch = batch
        return True

    def _next(self) -> Batch | None:
        """The batch around the ticket that has waited longest, or None."""
        # A queue keeps its place while it holds tickets, so the first in the dictionary with a slot
        # is the one whose head has waited longest, but for what its group took along before.
        for key in list(self._queues):
            queue = self._queues[key]
            while queue and queue[0].state == "withdrawn":
                queue.popleft()
            if not queue:
                del self._queues[key]
            elif self._has_slot(queue[0].deployment):
                tickets, inputs, tokens = self._together(queue)
                # To the back, or out: groups take turns.
                del self._queues[key]
                if queue:
                    self._queues[key] = queue
                self.waiting -= len(tickets)
                return self._leave(key, tickets, inputs, tokens)
        return None

    @staticmethod
    def _together(queue: deque[Ticket]) -> tuple[list[Ticket], int, int]:
        """As many tickets from the front as fit into one call, at least one; inputs and tokens."""
        limits = queue[0].deployment
        tickets: list[Ticket] = []
        inputs = tokens = 0
        while queue:
            ticket = queue[0]
            if ticket.state == "withdrawn":
                queue.popleft()
                continue
            more = inputs + ticket.size, tokens + ticket.tokens
            if tickets and not limits.takes(*more):
                break
            inputs, tokens = more
            tickets.append(queue.popleft())
        return tickets, inputs, tokens
