"""A part of a request, the states it goes through, and how it is halved. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct, field

from app.dispatch.deployments.call_size import SizeRefusal
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.token_estimate import NOTHING_EXPECTED, Expected
from app.dispatch.queue.attempts import Attempt
from app.domain import NO_FLOW, Flow
from app.errors import ProviderError, ProviderTimeout, Rejected, Throttled

NEVER = float("inf")


class PartState(StrEnum):
    """The state of a part. The request has its vectors when every part is answered or split."""

    WAITING = "waiting"  # until it is due, or a deployment may be called
    RUNNING = "running"  # an attempt is queued or in flight; two, when it is hedged
    ANSWERED = "answered"  # its vectors are in the answer
    SPLIT = "split"  # smaller parts have taken its place
    STOPPED = "stopped"  # its request has ended, or no request waits for its items any more


#: The states that may follow each state.
NEXT_STATES = {
    PartState.WAITING: {PartState.RUNNING, PartState.SPLIT, PartState.STOPPED},
    PartState.RUNNING: {
        PartState.WAITING,
        PartState.ANSWERED,
        PartState.SPLIT,
        PartState.STOPPED,
    },
    PartState.ANSWERED: set(),
    PartState.SPLIT: set(),
    PartState.STOPPED: set(),
}


class Part(Struct, eq=False):
    """Consecutive items of a request, from ``start``: their state, attempts and failures.

    `app.dispatch.job.job_state.JobState` owns it: ``state`` is changed by `Parts.transition` alone.
    """

    start: int
    tokens: list[int]  # expected, per item
    flow: Flow = NO_FLOW  # of its next attempt
    state: PartState = PartState.WAITING
    due: float = 0.0  # no attempt before that, of the monotonic clock
    attempts: list[Attempt] = field(default_factory=list)  # queued or in flight
    failures: list[ProviderError] = field(default_factory=list)
    #: The last failure at each deployment that has failed it.
    last_errors: dict[Deployment, ProviderError] = field(default_factory=dict)
    #: The last attempt that each deployment refused with 400; that may be the deployment's fault.
    refused_attempts: dict[Deployment, Attempt] = field(default_factory=dict)
    #: The last failure at a provider, until it is decided what follows: see `Parts.transition`.
    undecided: tuple[Attempt, ProviderError] | None = None
    has_doubtful_400: bool = False  # one of these 400s was in doubt when it came
    #: When its call counts as failed, and another is sent beside it: see `Timers`.
    late_at: float = NEVER
    late_after: float = NEVER  # seconds from the start of the call; less near the deadline
    hedge_at: float = NEVER  # when one more call is sent, without counting a failure
    hedge_after: float = NEVER  # seconds from the start of the call
    has_call_beside: bool = False  # another deployment was called beside a late one
    must_charge_retry: bool = False  # the budget is charged when the next attempt is submitted
    never_merge: bool = False
    starts_first: bool = False  # another request waits for some of its items
    size_refusal: SizeRefusal | None = None  # of the larger part that this one was in
    is_largest_served: bool = False  # the largest item of a larger part was sent alone before it
    # Computed from the fields above:
    size: int = 0  # items
    stop: int = 0  # the first item after it
    expected: Expected = NOTHING_EXPECTED  # tokens: of all items, and of the largest

    def __post_init__(self) -> None:
        self.size = len(self.tokens)
        self.stop = self.start + self.size
        self.expected = Expected(sum(self.tokens), max(self.tokens, default=0), self.flow)

    @property
    def is_bulk(self) -> bool:
        """Whether its next attempt is bulk work."""
        return self.flow.tier == "flex"

    @property
    def permanently_failing(self) -> Collection[Deployment]:
        """The deployments whose last error would come again, such as a 400 or a 404.

        A 400 to a merged batch does not count, since another request may have caused it; nor does
        one to a larger part that was split since.
        """
        return [d for d, error in self.last_errors.items() if self._is_permanent(d, error)]

    def _is_permanent(self, deployment: Deployment, error: ProviderError) -> bool:
        if isinstance(error, Rejected):
            return self.was_refused_alone_by(deployment)
        return not (error.transient or isinstance(error, ProviderTimeout))

    def was_refused_alone_by(self, deployment: Deployment) -> bool:
        """Whether that deployment has refused it with 400 in a call of its own."""
        refused = self.refused_attempts.get(deployment)
        return refused is not None and refused.batch_size == 1

    def is_refused_alone(self, now: float) -> bool:
        """Whether deployments refused it with 400 in calls of its own, and none is in doubt now.

        None was in doubt at its 400, either: one that refused everything then may be back now.
        """
        if not self.refused_attempts or self.has_merged_refusal or self.has_doubtful_400:
            return False
        refused = self.refused_attempts.items()
        return not any(d.standing.doubts_400(attempt.kind, now) for d, attempt in refused)

    @property
    def has_merged_refusal(self) -> bool:
        """Whether a deployment has refused it only in a batch: another request may be at fault."""
        return any(attempt.batch_size > 1 for attempt in self.refused_attempts.values())

    @property
    def is_refusal_shared(self) -> bool:
        """Whether two deployments have refused it, each in a call of its own."""
        return sum(attempt.batch_size == 1 for attempt in self.refused_attempts.values()) > 1

    @property
    def too_large_refusal(self) -> tuple[Attempt, Rejected] | None:
        """An attempt of several items that was refused as too large, and its error, if any."""
        if self.size > 1:
            for deployment, attempt in self.refused_attempts.items():
                error = self.last_errors.get(deployment)
                if isinstance(error, Rejected) and error.too_large:
                    return attempt, error
        return None

    def forget_too_large_refusals(self) -> None:
        """Remove refusals of its size, which are no failures: another may have another limit."""
        while (refusal := self.too_large_refusal) is not None:
            attempt, error = refusal
            self.failures.remove(error)
            del self.last_errors[attempt.deployment], self.refused_attempts[attempt.deployment]

    @property
    def counted_failures(self) -> int:
        """The number of failures that count against `max_failures`: of flex no 429s.

        It waits for the end of a rest after each of those.
        """
        if not self.is_bulk:
            return len(self.failures)
        return sum(not isinstance(failure, Throttled) for failure in self.failures)

    @property
    def called(self) -> list[Deployment]:
        """The deployments that have failed it, and those that have an attempt of it now."""
        return [*self.last_errors, *(attempt.deployment for attempt in self.attempts)]

    def add_failure(self, attempt: Attempt, error: ProviderError, now: float) -> None:
        """Record that an attempt of this part failed."""
        deployment = attempt.deployment
        self.failures.append(error)
        self.last_errors[deployment] = error
        self.undecided = (attempt, error)
        if isinstance(error, Rejected):
            self.refused_attempts[deployment] = attempt
            self.has_doubtful_400 |= deployment.standing.doubts_400(attempt.kind, now)
            if self.is_refusal_shared:
                for refusing, refused in self.refused_attempts.items():
                    refusing.standing.confirm_refusal(refused.kind, now)

    def split_at(self, cuts: Sequence[tuple[int, int]], flow: Flow) -> list[Part]:
        """Return the parts that can take its place: (start, stop) of its items for each."""
        return [
            Part(
                self.start + start,
                self.tokens[start:stop],
                flow,
                due=self.due,
                failures=list(self.failures),
                last_errors=dict(self.last_errors),
                must_charge_retry=self.must_charge_retry,
                never_merge=self.never_merge,
                is_largest_served=self.is_largest_served,
            )
            for start, stop in cuts
        ]

    def set_flow(self, flow: Flow) -> None:
        """Let its next attempt wait in another flow."""
        self.flow = flow
        self.expected = self.expected._replace(flow=flow)

    def check(self) -> None:
        """Assert the invariants of a part; called after every change."""
        running = self.state is PartState.RUNNING
        assert running == bool(self.attempts), f"{self.state} with {len(self.attempts)} attempts"
        assert len(self.attempts) <= 2, "more than one hedge"
        assert self.tokens, "a part without items"


def cuts_of_halves(tokens: Sequence[int], is_largest_served: bool) -> list[tuple[int, int]]:
    """Return (start, stop) of each smaller part of items of so many expected tokens.

    There are two cases. (1) The largest item is a part of its own, the first one in the result: if
    it is too long for the model, the request has failed after two calls. The others are halved.
    (2) ``is_largest_served``: that was done before; the items are halved.
    """
    size, half = len(tokens), len(tokens) // 2
    if is_largest_served:
        return [(0, half), (half, size)]
    position = max(range(size), key=tokens.__getitem__)
    largest = (position, position + 1)
    cuts = pairwise(sorted({0, half, size, *largest}))
    return [largest, *(cut for cut in cuts if cut != largest)]
