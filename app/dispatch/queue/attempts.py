"""The attempts at one provider that have not ended: every change of their state is made here.

It is made under the lock of their `SlotQueue`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.concurrency.deadline import Deadline
from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import NO_FLOW, TIERS, Call, EmbeddingRequest, Flow, Tier, Vectors
from app.errors import ClientError, ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.batch import Batch

_PLAIN_TEXT = (True, None, None, None, b"")  # the kind of most requests: see `kind_of`

#: The result of an attempt: vectors, a failure at the provider, or an error for the caller.
Result = Vectors | ProviderError | ClientError


class NotSent(ProviderError):
    """No call was made for the attempt. It is no failure of its part, and none of the deployment.

    For instance the deployment was ejected while the attempt waited, or its quota was used up.
    """

    transient = True
    cause = "not_sent"


def kind_of(call: Call | EmbeddingRequest, cut_to: int | None) -> Hashable:
    """Return a key that is equal for calls that differ only in their items and end user.

    ``call`` may also be a request. The kind of a request is not always that of its calls, because
    some deployments take other values. ``cut_to`` is that of `Attempt`.

    Of passed-on fields it has a digest: they may be as long as a request, and kinds are remembered.
    """
    is_text = isinstance(call.items[0], str)
    if is_text and not (call.dimensions or cut_to or call.input_type or call.passed):
        return _PLAIN_TEXT
    passed = b""
    if call.passed:
        encoded = msgspec.json.encode(call.passed, order="sorted")
        passed = blake2b(encoded, digest_size=16).digest()
    return (is_text, call.dimensions, cut_to, call.input_type, passed)


class AttemptState(Enum):
    """The state of an attempt. It moves down this list, with two exceptions.

    (1) After a refusal, from in flight to queued. (2) From abandoned to done: its call has ended.
    """

    NEW = "new"
    QUEUED = "queued"  # waits for a slot, or for a test of the batch it was refused in
    IN_FLIGHT = "in flight"  # in a batch that holds a slot
    DONE = "done"  # its result is known
    WITHDRAWN = "withdrawn"  # taken out of the queue: nothing was sent
    ABANDONED = "abandoned"  # in flight, and its result is not awaited any more


class Attempt(Struct, eq=False):
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
    cut_to: int | None = None  # width to cut the vectors to
    is_probe: bool = False  # of an ejected deployment
    #: The first of its part: its call earns a share of a retry, and of a hedge.
    earns_retry: bool = False
    is_hedge: bool = False  # it is sent beside a slow call
    #: It takes only an idle slot, and its result changes neither health nor latency: see
    #: `app.dispatch.sending.background_calls`.
    is_background: bool = False
    flow: Flow = NO_FLOW  # decides when it leaves the queue
    arrived_at: float = 0.0  # when its request came to dispatch, as `queued_at`
    charged: float = 0.0  # tokens for which its flow was charged as it left the queue
    state: AttemptState = AttemptState.NEW
    call_started_at: float | None = None  # of its last call: a bisection makes several
    batch: Batch | None = None  # while it is in flight
    batch_size: int = 1  # attempts in its last call, this one included
    on_served: Sequence[Callable[[], None]] = ()  # called once it has its vectors
    size: int = 0  # items: those of the call

    def __post_init__(self) -> None:
        self.size = len(self.call.items)

    @property
    def waits_for_slot(self) -> bool:
        """Whether no call is in flight for it; it may have had one that was refused with 400.

        Then it waits for the next test of the bisection, or in its queue again.
        """
        return self.call_started_at is None or self.state is AttemptState.QUEUED

    @property
    def group_key(self) -> Hashable:
        """A key that is equal for attempts that may share a call."""
        return self if self.group is None else (self.deployment, self.group)


_QUEUED, _IN_FLIGHT = AttemptState.QUEUED, AttemptState.IN_FLIGHT


class Attempts:
    """The attempts at one provider, counted by state. See `AttemptState` for the states.

    `app.dispatch.queue.slot_queue.SlotQueue` owns it, and holds its own lock during every call.
    """

    def __init__(self) -> None:
        self.waiting = 0  # attempts in state `QUEUED`; some of them may be held outside ``queue``
        self.queue = WaitingAttempts()
        self.outstanding: dict[Deployment, int] = {}  # attempts queued or in flight
        #: Waiting attempts and their tokens, by deployment and tier; only where it has a quota.
        self._waiting_of: dict[tuple[Deployment, Tier], tuple[int, int]] = {}

    def add(self, attempt: Attempt) -> None:
        """Count a new attempt as outstanding. The caller must enqueue or send it."""
        deployment = attempt.deployment
        self.outstanding[deployment] = self.outstanding.get(deployment, 0) + 1

    def enqueue(self, attempt: Attempt) -> None:
        """Put a new attempt into the queue."""
        attempt.state = _QUEUED
        self.queue.add(attempt)
        self._count_waiting(attempt, 1)

    def set_in_flight(self, attempts: Iterable[Attempt], batch: Batch) -> None:
        """Mark attempts as in flight in a batch. They must have been taken out of the queue."""
        for attempt in attempts:
            if attempt.state is _QUEUED:
                self._count_waiting(attempt, -1)
            attempt.state = _IN_FLIGHT
            attempt.batch = batch

    def set_queued(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Mark those attempts of an ended batch as queued whose result is still awaited."""
        awaited = self.keep_awaited(attempts)
        for attempt in awaited:
            if attempt.state is _IN_FLIGHT:
                attempt.state = _QUEUED
                attempt.batch = None
                self._count_waiting(attempt, 1)
        return awaited

    def keep_awaited(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Return the attempts whose result is still awaited; mark the others as done."""
        awaited = []
        for attempt in attempts:
            if attempt.state in (_QUEUED, _IN_FLIGHT):
                awaited.append(attempt)
            else:
                self.end(attempt)
        return awaited

    def abandon(self, attempt: Attempt) -> None:
        """Mark an attempt in flight as abandoned: its result is not awaited any more."""
        assert attempt.state is _IN_FLIGHT
        attempt.state = AttemptState.ABANDONED

    def take_queued(self, deployment: Deployment) -> list[Attempt]:
        """End all attempts that are queued for a deployment, and return them."""
        taken = self.queue.waiting_for(deployment)
        for attempt in taken:
            self.end(attempt)
        return taken

    def take_newest(self) -> Attempt | None:
        """End the attempt of the newest request of the flow with most waiting, and return it."""
        newest = self.queue.newest_of_largest()
        if newest is not None:
            self.end(newest)
        return newest

    def end(self, attempt: Attempt, state: AttemptState = AttemptState.DONE) -> bool:
        """Remove an attempt from all counts, once; return whether its result was still awaited."""
        before = attempt.state
        if before in (AttemptState.DONE, AttemptState.WITHDRAWN):
            return False
        if before is _QUEUED:
            self._count_waiting(attempt, -1)
            self.queue.remove(attempt)
        attempt.state = state
        attempt.batch = None
        self.outstanding[attempt.deployment] -= 1
        return before is not AttemptState.ABANDONED

    def _count_waiting(self, attempt: Attempt, number: int) -> None:
        self.waiting += number
        if not attempt.deployment.quota.is_limited:
            return
        key = attempt.deployment, attempt.flow.tier
        attempts, tokens = self._waiting_of.get(key, (0, 0))
        self._waiting_of[key] = attempts + number, tokens + number * attempt.tokens

    def waiting_before(self, deployment: Deployment, tier: Tier) -> tuple[int, int]:
        """Return the attempts, and their tokens, that wait for a deployment before one of a tier.

        Attempts of worse tiers leave later.
        """
        attempts = tokens = 0
        for better in TIERS[: TIERS.index(tier) + 1]:
            of_tier = self._waiting_of.get((deployment, better), (0, 0))
            attempts, tokens = attempts + of_tier[0], tokens + of_tier[1]
        return attempts, tokens

    def move(self, attempt: Attempt, flow: Flow) -> None:
        """Put an attempt at the end of another flow, if it is in the queue."""
        if self.queue.remove(attempt):
            self._count_waiting(attempt, -1)
            attempt.flow = flow
            self._count_waiting(attempt, 1)
            self.queue.add(attempt)
