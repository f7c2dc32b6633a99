"""The values in a provider's queue: attempts, and the batch of attempts that share a call.

`app.dispatch.batching` owns the state of both: only its `SlotQueue` changes it, under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from app.concurrency.deadline import Deadline
from app.domain import Call, Vectors
from app.errors import ClientError, ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment
    from app.dispatch.quota import Reservation

#: The result of an attempt: vectors, a failure at the provider, or an error for the caller.
Result = Vectors | ProviderError | ClientError


class NotSent(ProviderError):
    """No call was made for the attempt: the deployment was ejected, or its quota ran out."""

    transient = True
    cause = "not_sent"


class AttemptState(Enum):
    """The state of an attempt. It moves down this list; back only from in flight to queued."""

    NEW = "new"
    QUEUED = "queued"  # waits for a slot, or for a test of the batch it was refused in
    IN_FLIGHT = "in flight"  # in a batch that holds a slot
    DONE = "done"  # its result is known
    WITHDRAWN = "withdrawn"  # taken out of the queue: nothing was sent
    ABANDONED = "abandoned"  # in flight, and its result is not wanted any more


@dataclass(slots=True, eq=False)
class Attempt:
    """One try to embed a part of a request at one deployment.

    Attempts may share a call where ``deployment`` and ``group`` are equal; with ``group`` None an
    attempt has a call of its own. ``on_result`` is called once, from any thread and under no lock.
    """

    deployment: Deployment
    call: Call
    group: Hashable | None
    kind: Hashable  # of request: `Standing` remembers the kinds that a deployment has embedded
    tokens: int  # expected, of all its items
    deadline: Deadline  # of its request
    on_result: Callable[[Attempt, Result, float], None]  # and the time
    queued_at: float  # of the monotonic clock, in seconds
    wanted: int | None = None  # width to cut the vectors to
    is_probe: bool = False  # of an ejected deployment
    is_first: bool = False  # of its part: its call earns a share of a retry, and of a hedge
    is_space_check: bool = False  # of `app.dispatch.drift`: its vectors are compared, not served
    state: AttemptState = AttemptState.NEW
    call_started_at: float | None = None  # of its last call: a bisection makes several
    batch: Batch | None = None  # while it is in flight
    batch_size: int = 1  # attempts in its last call, this one included

    @property
    def size(self) -> int:
        """Items."""
        return len(self.call.items)


class CallDeadline(Deadline):
    """The time by which a call must have ended: the latest deadline of the requests it carries.

    It is computed at each use, so that a request whose deadline is extended extends its call. The
    provider's timeout bounds it. A probe has only that timeout, even after all its requests have
    ended, because its result decides whether the deployment is back.
    """

    __slots__ = ("_attempts", "_is_probe", "_latest")

    def __init__(self, attempts: list[Attempt], is_probe: bool) -> None:
        self.cancelled = False
        self._interrupt = None
        self._attempts = attempts  # the list of the batch, which may still grow
        self._is_probe = is_probe
        self._latest = float("inf")

    @property
    def at(self) -> float:
        if self.cancelled:
            return float("-inf")
        attempts = self._attempts
        if self._is_probe:
            return self._latest
        if len(attempts) == 1 and attempts[0].state is AttemptState.IN_FLIGHT:
            return min(self._latest, attempts[0].deadline.at)
        carried = (a.deadline.at for a in attempts if a.state is AttemptState.IN_FLIGHT)
        return min(self._latest, max(carried, default=float("-inf")))

    @at.setter
    def at(self, _: float) -> None:
        """Ignored: the value follows from the requests."""

    def set_timeout_at(self, latest: float) -> None:
        """Set the time at which the provider's own timeout ends the call."""
        self._latest = latest


@dataclass(slots=True, eq=False)
class Batch:
    """Attempts that share one call, which holds a slot of the provider.

    ``rest`` are attempts that were refused together with these: if this call succeeds, the refused
    item is among them.
    """

    attempts: list[Attempt]
    key: Hashable
    inputs: int
    tokens: int
    reservation: Reservation | None  # None: the quota has no room, and no slot is held
    rest: list[Attempt]
    is_probe: bool
    deadline: CallDeadline

    @classmethod
    def without_slot(cls, attempts: list[Attempt]) -> Batch:
        """Return a batch that is not sent: its attempts get `NotSent`, for want of quota."""
        return cls(attempts, None, 0, 0, None, [], False, CallDeadline(attempts, False))

    @property
    def deployment(self) -> Deployment:
        return self.attempts[0].deployment
