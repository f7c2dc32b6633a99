"""The slots of one provider and the attempts that wait for them. No I/O.

Its subclass `app.dispatch.queue.slot_queue.SlotQueue` takes attempts and chooses batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from itertools import islice
from typing import TYPE_CHECKING

from app.concurrency.locks import uncontended_lock
from app.dispatch.queue.attempts import Attempt, Attempts, AttemptState
from app.dispatch.queue.leaving import MIN_SLOTS_TO_KEEP_ONE
from app.domain import Flow, Tier

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.adaptive import AdaptiveLimit
    from app.dispatch.queue.batch import Batch

_MAX_CALLS_REMEMBERED = 32


class Slots:
    """How many slots there are, how many are free, and what waits; takes attempts out.

    The lock guards all fields, and the state of the attempts and batches; no thread waits while it
    holds the lock. Slots taken equal calls in flight, so that ``free`` is below 0 after a change to
    fewer slots, until enough calls have ended.
    """

    is_leased = False  # see `app.dispatch.queue.leased_slots`

    def __init__(self, slots: int, max_waiting: int, adaptive: AdaptiveLimit | None) -> None:
        self.slots = slots
        self.adaptive = adaptive  # finds the number of slots, where the settings give none
        self.free = slots
        self.room_waiters = RoomWaiters()  # jobs that wait until it has room
        self._max_waiting = max_waiting
        self._attempts = Attempts()
        self._open: dict[Hashable, Batch] = {}  # for additions, by the key of their group
        self._drain_rate = DrainRate()
        self._lock = uncontended_lock()

    @property
    def concurrency(self) -> int:
        """The calls at once; if measured ("auto"), the number around which `slots` alternate."""
        return self.slots if self.adaptive is None else self.adaptive.limit

    @property
    def waiting(self) -> int:
        """Attempts that wait for a slot."""
        return self._attempts.waiting

    def waiting_of(self, tier: Tier) -> int:
        """Return the number of attempts of a tier in the queue."""
        return self._attempts.queue.waiting_of(tier)

    @property
    def is_full(self) -> bool:
        """Whether no more attempts may wait here."""
        return self._attempts.waiting >= self._max_waiting

    @property
    def room(self) -> int:
        """Attempts that may still wait here."""
        return self._max_waiting - self._attempts.waiting

    def has_room(self, flow: Flow) -> bool:
        """Whether an attempt of a flow may wait here.

        In a full queue it may if another flow has more attempts waiting: that flow loses one.
        """
        if self._attempts.waiting < self._max_waiting:
            return True
        with self._lock:
            return self._attempts.queue.has_more_waiting(flow)

    def seconds_to_drain(self, now: float) -> float | None:
        """Return the seconds until all attempts that wait now have left; None while unknown."""
        with self._lock:
            return self._drain_rate.seconds_for(self._attempts.waiting, now)

    @property
    def outstanding_calls(self) -> float:
        """Attempts that wait and calls in flight, of all models, for each slot."""
        return (self._attempts.waiting + self.slots - self.free) / max(1, self.slots)

    def outstanding(self, deployment: Deployment) -> int:
        """Attempts of a deployment that are queued or in flight."""
        return self._attempts.outstanding.get(deployment, 0)

    def waiting_before(self, deployment: Deployment, tier: Tier) -> tuple[int, int]:
        """Return the attempts that wait for a deployment before one of a tier, and their tokens."""
        if not self._attempts.waiting:
            return 0, 0
        return self._attempts.waiting_before(deployment, tier)

    @property
    def keeps_last_slot(self) -> bool:
        """Whether the last free slot is kept for other tiers than flex."""
        return self.slots >= MIN_SLOTS_TO_KEEP_ONE

    @property
    def _is_last_slot_kept(self) -> bool:
        return self.free == 1 and self.keeps_last_slot

    # Calls

    def claim(self, batch: Batch) -> bool:
        """Return whether the calling thread is the first that is to make the call of a batch.

        A batch whose call starts early has two threads.
        """
        with self._lock:
            is_first = not batch.is_claimed
            batch.is_claimed = True
            return is_first

    def record_lost_thread(self, batch: Batch) -> bool:
        """Record that a thread for a batch cannot be started; return whether none makes its call.

        The calling thread has claimed the batch then.
        """
        with self._lock:
            batch.threads -= 1
            is_lost = not batch.threads and not batch.is_claimed
            batch.is_claimed |= is_lost
            return is_lost

    # Taking attempts out

    def take_excess(self) -> Attempt | None:
        """Take out an attempt above the limit, of the flow with most waiting; None without one.

        The caller must pass it a result.
        """
        if self._attempts.waiting <= self._max_waiting:
            return None
        with self._lock:
            is_over = self._attempts.waiting > self._max_waiting
            return self._attempts.take_newest() if is_over else None

    def end_if_abandoned(self, attempt: Attempt) -> None:
        """Mark an attempt as done if it is abandoned."""
        with self._lock:
            if attempt.state is AttemptState.ABANDONED:
                self._attempts.end(attempt)

    def withdraw(self, attempt: Attempt) -> bool:
        """Take a queued attempt out; False where it is in flight or done."""
        with self._lock:
            if attempt.state is not AttemptState.QUEUED:
                return False
            self._attempts.end(attempt, AttemptState.WITHDRAWN)
            return True

    def move(self, attempt: Attempt, flow: Flow) -> None:
        """Let a queued attempt wait in another flow."""
        with self._lock:
            self._attempts.move(attempt, flow)

    def flush(self, deployment: Deployment) -> list[Attempt]:
        """Take out all attempts queued for a deployment. The caller must pass each a result."""
        with self._lock:
            return self._attempts.take_queued(deployment)


class DrainRate:
    """Learns from the recent calls how many attempts leave a queue in a second."""

    def __init__(self) -> None:
        #: Time and attempts of each.
        self._calls: deque[tuple[float, int]] = deque(maxlen=_MAX_CALLS_REMEMBERED)

    def record_call(self, attempts: int, waiting: int, now: float) -> None:
        """Record a call with so many attempts of the queue; ``waiting``: of all before the call."""
        if waiting <= attempts:  # the queue is empty for a time that is not known
            self._calls.clear()
        else:
            self._calls.append((now, attempts))

    def seconds_for(self, attempts: int, now: float) -> float | None:
        """Return the seconds until so many attempts have left; None while that is not known."""
        if not self._calls:
            return None
        seconds = now - self._calls[0][0]
        return attempts * seconds / sum(number for _, number in self._calls) if seconds else None


class RoomWaiters:
    """Functions that wake jobs, in the order in which these began to wait for a queue.

    A job that has bought vectors, or whose other parts run, waits until a full queue has room for
    its next part. It is woken then, so that it need not poll the queue.

    The lock guards ``_wakes``. It may be taken under the lock of a job; none is taken under it.
    """

    def __init__(self) -> None:
        self._wakes: dict[Callable[[], None], None] = {}
        self._lock = uncontended_lock()

    def add(self, wake: Callable[[], None]) -> None:
        """Have a job woken once when the queue has room."""
        with self._lock:
            self._wakes[wake] = None

    def remove(self, wake: Callable[[], None]) -> None:
        """Forget a job, which has ended."""
        with self._lock:
            self._wakes.pop(wake, None)

    def wake(self, room: int) -> None:
        """Wake as many jobs as attempts may wait now. Call it under no lock."""
        if not self._wakes or room <= 0:
            return
        with self._lock:
            woken = list(islice(self._wakes, room))
            for wake in woken:
                del self._wakes[wake]
        for wake in woken:
            wake()
