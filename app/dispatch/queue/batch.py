"""A batch: attempts that share a call.

The deadline of the call follows from them, and whether the call starts early.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from app.concurrency.deadline import Deadline
from app.dispatch.health.unslowed_calls import BASELINE_CALLS
from app.dispatch.queue.attempts import Attempt, AttemptState
from app.dispatch.queue.leaving import Merging
from app.domain import Item

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.quotas.quota_window import QuotaReservation

#: Attempts in a call that starts early, at least. A call takes the worker as long as one or two
#: requests, which is little for so many.
MIN_ATTEMPTS = 8
#: The same where two attempts in each call make no more calls at once than are not slowed.
MIN_ATTEMPTS_UNSLOWED = 2
#: The time in which its attempts were read, at most, as a share of the seconds of their call. For a
#: shorter call the worker never waits long, and to make more calls would take it longer.
MAX_READING_SHARE = 1 / 4
#: The time in which all outstanding attempts are read, at most, as a share of the same. If it is
#: more, the worker is too busy for more calls at once than `BASELINE_CALLS`.
MAX_READING_SHARE_OF_ALL = 1 / 2


class CallDeadline(Deadline):
    """The time by which a call must have ended: the latest deadline of the requests it carries.

    It is computed at each use, so that a request whose deadline is extended extends its call. The
    provider's timeout bounds it. A probe has only that timeout, even after all its requests have
    ended, because its result decides whether the deployment is back.
    """

    __slots__ = ("_attempts", "_is_probe", "_timeout_at")

    def __init__(self, attempts: list[Attempt], is_probe: bool) -> None:
        self.cancelled = False
        self._interrupt = None
        self._attempts = attempts  # the list of the batch, which may still grow
        self._is_probe = is_probe
        self._timeout_at = float("inf")  # the provider's

    @property
    def at(self) -> float:
        """The time, of the monotonic clock; long ago once the call is cancelled."""
        if self.cancelled:
            return float("-inf")
        if self._is_probe:
            return self._timeout_at
        latest = float("-inf")
        for attempt in self._attempts:
            if attempt.state is AttemptState.IN_FLIGHT:
                at = attempt.deadline.at  # once: another thread may extend it
                if at >= self._timeout_at:
                    return self._timeout_at
                latest = max(latest, at)
        return latest

    @at.setter
    def at(self, _: float) -> None:
        """Ignored: the value follows from the requests."""

    def set_timeout_at(self, at: float) -> None:
        """Set the time at which the provider's own timeout ends the call."""
        self._timeout_at = at

    def close(self) -> None:
        """Forget the requests, too: a connection keeps the deadline of its last call."""
        super().close()
        self._attempts = []


class Batch(Struct, eq=False):
    """Attempts that share one call, which holds a slot of the provider.

    One that `is_unsent` has neither a slot nor quota: no call is made, and its attempts, which have
    left the queue, go back to their jobs.

    Only `app.dispatch.queue.slot_queue.SlotQueue` changes it, under its lock.

    ``refused_with`` are attempts that were refused together with these: if this call succeeds, the
    refused item is among them.
    """

    attempts: list[Attempt]
    key: Hashable
    item_count: int
    tokens: int
    reservation: QuotaReservation | None  # None where it is unsent
    refused_with: list[Attempt]
    is_probe: bool
    deadline: CallDeadline
    merging: Merging | None = None  # what may still be added
    opened_at: float = 0.0
    calls_at_once: int = 1  # of its deployment when it took its slot, itself included
    starts_early: bool = False  # see `Batch.may_start_early`
    is_claimed: bool = False  # by the thread that makes its call
    threads: int = 1  # that are to claim it
    is_unsent: bool = False

    @classmethod
    def with_slot(
        cls,
        attempts: list[Attempt],
        key: Hashable,
        reservation: QuotaReservation,
        refused_with: list[Attempt],
        merging: Merging | None = None,
    ) -> Batch:
        """Return a batch whose slot and quota are taken."""
        is_probe, item_count, tokens = False, 0, 0
        for attempt in attempts:
            is_probe |= attempt.is_probe
            item_count += attempt.size
            tokens += attempt.tokens
        deadline = CallDeadline(attempts, is_probe)
        return cls(
            attempts,
            key,
            item_count,
            tokens,
            reservation,
            refused_with,
            is_probe,
            deadline,
            merging,
        )

    @classmethod
    def without_slot(cls, attempts: list[Attempt]) -> Batch:
        """Return a batch that is not sent: its attempts get `NotSent`."""
        deadline = CallDeadline(attempts, False)
        return cls(attempts, None, 0, 0, None, [], False, deadline, is_unsent=True)

    @property
    def deployment(self) -> Deployment:
        return self.attempts[0].deployment

    @property
    def items(self) -> Sequence[Item]:
        """The items of all its attempts."""
        if len(self.attempts) == 1:
            return self.attempts[0].call.items
        return [item for attempt in self.attempts for item in attempt.call.items]

    @property
    def counts(self) -> Sequence[int | None]:
        """The tokens of each item that are counted already; empty where none are."""
        calls = [attempt.call for attempt in self.attempts]
        if not any(call.counts for call in calls):
            return ()
        return [count for call in calls for count in call.counts or [None] * len(call.items)]

    @property
    def is_awaited(self) -> bool:
        """Whether a request waits for the result of one of its attempts."""
        return any(attempt.state is AttemptState.IN_FLIGHT for attempt in self.attempts)

    def try_add(self, attempt: Attempt, now: float) -> bool:
        """Add an attempt, if it may join the call and the quota has room."""
        if self.reservation is None:
            return False
        if self.merging is None:
            (first,) = self.attempts
            self.merging = Merging(first, float("inf"), now)
        if not self.merging.try_add(attempt):
            return False
        if not self.deployment.quota.add_tokens(self.reservation, attempt.tokens, now):
            return False
        self.item_count += attempt.size
        self.tokens += attempt.tokens
        self.attempts.append(attempt)
        return True

    def may_start_early(self, outstanding: int, slots: int, free: int, now: float) -> bool:
        """Return whether its call may start before its sender runs, while others could still join.

        The batch is open for additions until its sender runs. Under gevent that is after all
        requests that have arrived were read. If no call started before, a burst of requests would
        share one call, whose answers cause the next burst: the provider would wait for the worker,
        and then the worker for the provider.

        Three things must be true:

        1. A slot is free for the next attempts. Without one they would wait until this call ends.
        2. Its attempts were read in a short time, compared with the seconds of the call.
        3. They are its share of the outstanding attempts (`enough_attempts`). The share is a
           quarter, so that the worker reads some attempts while the provider works on others. It is
           less where more calls at once do not slow each other (`UnslowedCalls`), each attempt
           could have a slot, no quota limits the calls, and the worker is not too busy to make more
           (`is_read_fast`).

        ``outstanding``: the attempts at its deployment that are queued or in flight, its own
        included. ``slots``: the calls that the deployment may have in flight; ``free``: how many of
        these it may start now.
        """
        if free <= 0:
            return False
        deployment, attempts = self.deployment, len(self.attempts)
        call_s = deployment.durations.expected_s(self.item_count, self.tokens)
        reading_s = now - self.opened_at
        if call_s is None or reading_s > MAX_READING_SHARE * call_s:
            return False
        calls = float(BASELINE_CALLS)
        if (
            outstanding <= slots
            and not deployment.quota.is_limited
            and is_read_fast(reading_s, attempts, outstanding, call_s)
        ):
            calls = deployment.unslowed_calls.most
        return attempts >= enough_attempts(outstanding, calls)


def tokens_of(attempts: list[Attempt]) -> int:
    """Return the expected tokens of some attempts together."""
    if len(attempts) == 1:
        return attempts[0].tokens
    return sum(attempt.tokens for attempt in attempts)


def enough_attempts(outstanding: int, calls: float) -> float:
    """Return how many attempts a call needs to start early: its share, and not too few.

    ``outstanding``: the attempts at its deployment that are queued or in flight. ``calls``: the
    calls at once that share them; `BASELINE_CALLS` unless more are known not to be slowed.
    """
    if calls > BASELINE_CALLS and outstanding <= MIN_ATTEMPTS_UNSLOWED * calls:
        return MIN_ATTEMPTS_UNSLOWED
    return max(MIN_ATTEMPTS, outstanding / calls)


def is_read_fast(reading_s: float, attempts: int, outstanding: int, call_s: float) -> bool:
    """Return whether the worker would read all outstanding attempts in half of a call's time.

    ``reading_s``: the seconds in which it has read the ``attempts`` of a batch after the first one.
    ``call_s``: the seconds that the call of the batch is expected to take.
    """
    # That is reading_s / (attempts - 1) * outstanding, multiplied out.
    return reading_s * outstanding <= MAX_READING_SHARE_OF_ALL * call_s * (attempts - 1)
