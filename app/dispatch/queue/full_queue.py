"""Which attempt a full queue drops when another one comes, and which jobs wait until it has room.

It drops an attempt of the key with most attempts waiting for each of its shares; of two equal keys,
of that in the worse service tier. Within the key it is the end user with most waiting, and of that
one the newest request.

A job that has bought vectors, or whose other parts run, waits until a full queue has room for its
next part. It is woken then, so that it need not poll the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from app.concurrency.locks import uncontended_lock
from app.dispatch.queue.attempt import Attempt
from app.dispatch.queue.queued_flow import QueuedFlow
from app.domain import TIERS, Flow, Tier


def has_more_waiting(tiers: Mapping[Tier, QueuedFlow], flow: Flow) -> bool:
    """Whether another flow would lose an attempt if this one had one more."""
    key = tiers[flow.tier].members.get(flow.key) or QueuedFlow()
    user = key.members.get(flow.user) or QueuedFlow()
    found = _largest_key(tiers)
    if found is None:
        return False
    largest, tier = found
    if largest is key:
        return _largest_user(key).waiting > user.waiting + 1
    of_largest, own = largest.waiting / largest.share, (key.waiting + 1) / flow.share
    is_worse_tier = TIERS.index(tier) > TIERS.index(flow.tier)
    return of_largest > own or (of_largest == own and is_worse_tier)


def newest_of_largest(tiers: Mapping[Tier, QueuedFlow]) -> Attempt | None:
    """Return the attempt to drop; None where none waits."""
    found = _largest_key(tiers)
    if found is None:
        return None
    return max(_largest_user(found[0]).attempts(), key=lambda attempt: attempt.arrived_at)


def _largest_key(tiers: Mapping[Tier, QueuedFlow]) -> tuple[QueuedFlow, Tier] | None:
    keys = [
        (key, tier)
        for tier in reversed(TIERS)  # the first of equal ones is found
        for key in tiers[tier].members.values()
        if key.waiting
    ]
    return max(keys, key=lambda pair: pair[0].waiting / pair[0].share, default=None)


def _largest_user(key: QueuedFlow) -> QueuedFlow:
    return max(key.members.values(), key=lambda user: user.waiting)


class RoomWaiters:
    """Functions that wake jobs, in the order in which these began to wait for a queue.

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
