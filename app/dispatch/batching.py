"""The slots of one provider, the queue before them, and the batches of attempts that share a call.

Batching works like a group commit: an attempt that finds a free slot is sent at once; attempts that
arrive while all slots are taken are sent together in the next call, as many as may be merged and
fit. So an idle provider adds no wait, and batches grow with load. A batch is *open for additions*
from when its slot is taken until its sender runs, so that attempts of that moment join it.

No I/O here: `SlotQueue` chooses the next batch, `app.dispatch.sender` sends it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from app.concurrency.locks import uncontended_lock
from app.dispatch.attempt import Attempt, AttemptState, Batch, CallDeadline
from app.dispatch.waiting import WaitingGroups, fill, group_key

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment
    from app.dispatch.quota import Reservation

_QUEUED, _IN_FLIGHT = AttemptState.QUEUED, AttemptState.IN_FLIGHT


class SlotQueue:
    """The slots of one provider and the attempts that wait for them.

    The lock guards all fields, and the state of the attempts and batches; no thread waits while it
    holds the lock. Slots taken equal calls in flight.
    """

    def __init__(self, slots: int, max_waiting: int = 1000) -> None:
        self.slots = slots
        self.free = slots
        self.waiting = 0  # attempts
        self._max_waiting = max_waiting
        self._groups = WaitingGroups()
        self._open: dict[Hashable, Batch] = {}  # for additions
        self._calls: dict[Deployment, int] = {}  # in flight
        self._outstanding: dict[Deployment, int] = {}  # attempts queued or in flight
        self._lock = uncontended_lock()

    @property
    def is_full(self) -> bool:
        """Whether no more attempts may wait here."""
        return self.waiting >= self._max_waiting

    @property
    def outstanding_calls(self) -> float:
        """Attempts that wait and calls in flight, of all models, for each slot."""
        return (self.waiting + self.slots - self.free) / self.slots

    def outstanding(self, deployment: Deployment) -> int:
        """Attempts of a deployment that are queued or in flight."""
        return self._outstanding.get(deployment, 0)

    def submit(self, attempt: Attempt, now: float) -> Batch | None:
        """Take an attempt; the batch to send now, if any.

        There are three cases: it joins a batch that is open for additions; it finds a free slot
        and becomes a batch; it waits.
        """
        key, deployment = group_key(attempt), attempt.deployment
        with self._lock:
            self._outstanding[deployment] = self._outstanding.get(deployment, 0) + 1
            open_batch = self._open.get(key)
            if open_batch is not None and self._try_add(open_batch, attempt, now):
                return None
            if self.free and not self.waiting and self._has_slot(deployment):
                batch = self._start(key, [attempt], now)
                if batch is not None:
                    return batch
            attempt.state = _QUEUED
            self._groups.add(attempt)
            self.waiting += 1
            return self._next(now)

    def submit_if_idle(self, attempt: Attempt, now: float) -> Batch | None:
        """Take an attempt if that delays no other: the batch to send now, or None.

        None where no slot is free, an attempt waits for one, or the quota has no room.
        """
        deployment = attempt.deployment
        with self._lock:
            if not self.free or self.waiting or not self._has_slot(deployment):
                return None
            batch = self._start(group_key(attempt), [attempt], now)
            if batch is not None:
                self._outstanding[deployment] = self._outstanding.get(deployment, 0) + 1
            return batch

    def close(self, batch: Batch) -> bool:
        """Close a batch for additions; return whether a request waits for it, or it is a probe.

        Its sender calls this before it reads the attempts.
        """
        with self._lock:
            if self._open.get(batch.key) is batch:
                del self._open[batch.key]
            return batch.is_probe or any(a.state is _IN_FLIGHT for a in batch.attempts)

    def finish(self, batch: Batch, now: float) -> Batch | None:
        """A call has ended: free its slot; the batch to send next, if any."""
        with self._lock:
            self.free += 1
            self._calls[batch.deployment] -= 1
            return self._next(now)

    def next(self, now: float) -> Batch | None:
        """The batch to send next, if any."""
        with self._lock:
            return self._next(now)

    def done(self, attempt: Attempt, batch_size: int) -> bool:
        """Mark an attempt as done; return whether its result is still wanted."""
        with self._lock:
            attempt.batch_size = batch_size
            return self._end(attempt)

    def discard(self, attempt: Attempt) -> None:
        """Mark an attempt as done if it is abandoned."""
        with self._lock:
            if attempt.state is AttemptState.ABANDONED:
                self._end(attempt)

    def withdraw(self, attempt: Attempt) -> bool:
        """Take a queued attempt out; False where it is in flight or done."""
        with self._lock:
            if attempt.state is not _QUEUED:
                return False
            self._end(attempt, AttemptState.WITHDRAWN)
            return True

    def abandon(self, attempt: Attempt) -> Batch | None:
        """Mark an attempt in flight as abandoned; return its batch if all of it is abandoned."""
        with self._lock:
            if attempt.state is not _IN_FLIGHT:
                return None
            attempt.state = AttemptState.ABANDONED
            batch = attempt.batch
            if batch is None or batch.is_probe or self._open.get(batch.key) is batch:
                return None
            return None if any(a.state is _IN_FLIGHT for a in batch.attempts) else batch

    def flush(self, deployment: Deployment) -> list[Attempt]:
        """Take out all attempts queued for a deployment. The caller must pass each a result."""
        with self._lock:
            return self._take_queued(deployment)

    # After a refusal (see `app.dispatch.bisection`)

    def requeue(self, attempts: Iterable[Attempt]) -> None:
        """Put attempts of a batch that was refused at the head of their queues again."""
        with self._lock:
            self._groups.add_first(self._set_queued(attempts))

    def hold(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Mark attempts as queued outside the queue, until a bisection's test has ended."""
        with self._lock:
            return self._set_queued(attempts)

    def replace(
        self, batch: Batch, attempts: Iterable[Attempt], rest: list[Attempt], now: float
    ) -> Batch | None:
        """Return a batch of ``attempts`` in the slot of a batch that has ended.

        None where none of them is wanted any more. Without quota all of them, and ``rest``, are
        taken out, as `next` does.
        """
        with self._lock:
            wanted = self._wanted(attempts)
            if not wanted:
                return None
            reservation = batch.deployment.quota.reserve(_tokens_of(wanted), now)
            if reservation is None:
                returned = [*wanted, *self._wanted(rest)]
                for attempt in returned:
                    self._end(attempt)
                return Batch.without_slot(returned)
            return self._make(wanted, batch.key, reservation, rest)

    # Under the lock

    def _next(self, now: float) -> Batch | None:
        """The batch around the attempt that has waited longest, if a slot may be taken for it."""
        if not self.free:
            return None
        # A group keeps its place while it holds attempts, so the first one with a slot is the one
        # whose head has waited longest, but for those that were taken along before.
        for key, deployment, group in self._groups:
            if not self._has_slot(deployment):
                continue
            attempts = fill(group, deployment, now)
            batch = self._start(key, attempts, now)
            if batch is None:  # the quota has no room: they may ask another deployment
                return Batch.without_slot(self._take_queued(deployment))
            if deployment.has_refused(attempts[0].call.items, now):
                del self._open[key]
            self._groups.take(key, attempts)
            return batch
        return None

    def _start(self, key: Hashable, attempts: list[Attempt], now: float) -> Batch | None:
        """Take a slot and the quota for a batch; None where the quota has no room."""
        deployment = attempts[0].deployment
        reservation = deployment.quota.reserve(_tokens_of(attempts), now)
        if reservation is None:
            return None
        self.free -= 1
        self._calls[deployment] = self._calls.get(deployment, 0) + 1
        batch = self._open[key] = self._make(attempts, key, reservation, [])
        return batch

    def _make(
        self,
        attempts: list[Attempt],
        key: Hashable,
        reservation: Reservation,
        rest: list[Attempt],
    ) -> Batch:
        is_probe, inputs, tokens = False, 0, 0
        for attempt in attempts:
            is_probe |= attempt.is_probe
            inputs += attempt.size
            tokens += attempt.tokens
        deadline = CallDeadline(attempts, is_probe)
        batch = Batch(attempts, key, inputs, tokens, reservation, rest, is_probe, deadline)
        for attempt in attempts:
            if attempt.state is _QUEUED:
                self.waiting -= 1
            attempt.state = _IN_FLIGHT
            attempt.batch = batch
        return batch

    def _try_add(self, batch: Batch, attempt: Attempt, now: float) -> bool:
        deployment = batch.deployment
        inputs, tokens = batch.inputs + attempt.size, batch.tokens + attempt.tokens
        if batch.reservation is None or not deployment.fits(inputs, tokens):
            return False
        if not deployment.quota.add(batch.reservation, attempt.tokens, now):
            return False
        batch.inputs, batch.tokens = inputs, tokens
        batch.attempts.append(attempt)
        attempt.state = _IN_FLIGHT
        attempt.batch = batch
        return True

    def _has_slot(self, deployment: Deployment) -> bool:
        limit = deployment.concurrency
        return limit is None or self._calls.get(deployment, 0) < limit

    def _set_queued(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Mark those attempts of an ended batch as queued whose result is still wanted."""
        wanted = self._wanted(attempts)
        for attempt in wanted:
            if attempt.state is _IN_FLIGHT:
                attempt.state = _QUEUED
                attempt.batch = None
                self.waiting += 1
        return wanted

    def _wanted(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Return the attempts whose result is still wanted; mark the others as done."""
        wanted = []
        for attempt in attempts:
            if attempt.state in (_QUEUED, _IN_FLIGHT):
                wanted.append(attempt)
            else:
                self._end(attempt)
        return wanted

    def _take_queued(self, deployment: Deployment) -> list[Attempt]:
        taken = self._groups.of_deployment(deployment)
        for attempt in taken:
            self._end(attempt)
        return taken

    def _end(self, attempt: Attempt, state: AttemptState = AttemptState.DONE) -> bool:
        """Remove an attempt from all counts, once; return whether its result was still wanted."""
        before = attempt.state
        if before in (AttemptState.DONE, AttemptState.WITHDRAWN):
            return False
        if before is _QUEUED:
            self.waiting -= 1
            self._groups.remove(attempt)
        attempt.state = state
        attempt.batch = None
        self._outstanding[attempt.deployment] -= 1
        return before is not AttemptState.ABANDONED


def _tokens_of(attempts: list[Attempt]) -> int:
    if len(attempts) == 1:
        return attempts[0].tokens
    return sum(attempt.tokens for attempt in attempts)
