"""Attempts: the values in a provider's queue.

Only `app.dispatch.queue.attempts` changes their state, under the lock of their `SlotQueue`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.concurrency.deadline import Deadline
from app.domain import NO_FLOW, Call, Flow, Vectors
from app.errors import ClientError, ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.batch import Batch

_PLAIN_TEXT = (True, None, None, None, b"")  # the kind of most requests: see `kind_of`

#: The result of an attempt: vectors, a failure at the provider, or an error for the caller.
Result = Vectors | ProviderError | ClientError


class NotSent(ProviderError):
    """No call was made for the attempt: the deployment was ejected, or its quota ran out."""

    transient = True
    cause = "not_sent"


def kind_of(call: Call, cut_to: int | None) -> Hashable:
    """Return a key that is equal for calls that differ only in their items and end user.

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
    """The state of an attempt. It moves down this list; back only from in flight to queued."""

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
    is_first: bool = False  # of its part: its call earns a share of a retry, and of a hedge
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
    on_served: Callable[[], None] | None = None  # called once it has its vectors
    size: int = 0  # items: those of the call

    def __post_init__(self) -> None:
        self.size = len(self.call.items)

    @property
    def waits_for_slot(self) -> bool:
        """Whether no call is in flight for it; it may have had one that was refused with 400.

        Then it waits for the next test of the bisection, or in its queue again.
        """
        return self.call_started_at is None or self.state is AttemptState.QUEUED
