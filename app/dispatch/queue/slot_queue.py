"""The queue before the slots of one provider: takes attempts, and chooses the next batch.

Batching works like a group commit: an attempt that finds a free slot is sent at once; attempts that
arrive while all slots are taken are sent together in the next call, as many as may be merged and
fit. So an idle provider adds no wait, and batches grow with load. A batch is *open for additions*
from when its slot is taken until its sender runs: attempts that arrive meanwhile join it. Its call
may start early, before that (`Batch.may_start_early`).

With `MIN_SLOTS_TO_KEEP_ONE` slots or more, attempts of tier flex leave the last free one to others:
a query finds it even while bulk work takes all others. The same holds for a deployment's own slots.

No I/O here: `app.dispatch.sending.sender` sends the batches. The docstring of the package lists the
files that this one uses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING

from app.dispatch.queue.attempts import Attempt, AttemptState
from app.dispatch.queue.batch import Batch, tokens_of
from app.dispatch.queue.leaving import Leaving, Merging
from app.dispatch.queue.slots import Slots
from app.domain import Tier

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.adaptive import AdaptiveLimit


class SlotQueue(Slots):
    """Takes attempts, and returns the batches that are to be sent; see `Slots` for the lock."""

    def __init__(
        self, slots: int, max_waiting: int = 1000, adaptive: AdaptiveLimit | None = None
    ) -> None:
        super().__init__(slots, max_waiting, adaptive)
        #: Called to have the queue checked again at a time; mostly under the lock: see `paused`.
        self.on_pause: Callable[[SlotQueue, float], None] | None = None
        self.has_lost_pause = False  # no thread could be started for the end of a pause
        self._leaving = Leaving(self._attempts.queue, self.pause_until)

    def submit(self, attempt: Attempt, now: float) -> Batch | None:
        """Take an attempt; return the batch to send now, if any.

        It joins an open batch (and may start its call early), or becomes one, or waits.
        """
        key, attempts = attempt.group_key, self._attempts
        with self._lock:
            attempts.add(attempt)
            open_batch = self._open.get(key)
            if open_batch is not None and open_batch.try_add(attempt, now):
                attempts.set_in_flight([attempt], open_batch)
                return self._start_early(open_batch, now)
            if not attempts.waiting and self._may_start(attempt, now):
                batch = self._start(key, [attempt], now)
                if batch is not None:
                    return batch
            attempts.enqueue(attempt)
            return self._take_next(now)

    def starts_at_once(self, deployment: Deployment, tier: Tier, now: float) -> bool:
        """Whether an attempt would be sent at once, so that it needs no place in the queue."""
        with self._lock:
            needed = 1 if self.keeps_last_slot and tier == "flex" else 0
            return self.free > needed and self._leaving.is_unlimited(deployment, tier, now)

    def submit_if_idle(self, attempt: Attempt, now: float) -> Batch | None:
        """Take an attempt if that delays no other; return the batch to send now, or None.

        None where no slot is free, an attempt waits for one, or the quota has no room.
        """
        with self._lock:
            if self.waiting or not self._may_start(attempt, now):
                return None
            batch = self._start(attempt.group_key, [attempt], now)
            if batch is not None:
                self._attempts.add(attempt)
            return batch

    def close(self, batch: Batch) -> bool:
        """Close a batch for additions; return whether a request waits for it, or it is a probe.

        Its sender calls this before it reads the attempts.
        """
        with self._lock:
            if self._open.get(batch.key) is batch:
                del self._open[batch.key]
            return batch.is_probe or batch.is_awaited

    def finish(self, batch: Batch, now: float) -> Batch | None:
        """Free the slot of a call that has ended; return the batch to send next, if any."""
        with self._lock:
            self.free += 1
            self._leaving.calls[batch.deployment] -= 1
            return self._take_next(now)

    def set_slots(self, slots: int, now: float) -> Batch | None:
        """Change the number of slots; return the first batch to send now, if any.

        The caller gets the others by `take_next`. With fewer slots than calls in flight, no call is
        cut: the next one is sent once as many have ended as are too many. With 0 slots all wait.
        """
        with self._lock:
            self.free += slots - self.slots
            self.slots = slots
            return self._take_next(now)

    def take_next(self, now: float) -> Batch | None:
        """Return the batch to send next, if any."""
        with self._lock:
            return self._take_next(now)

    def pause_until(self, at: float) -> None:
        """Have the queue checked again at a time. Takes no lock."""
        if self.on_pause is not None:
            self.on_pause(self, at)

    def finish_attempt(self, attempt: Attempt, batch_size: int, tokens: int | None = None) -> bool:
        """Mark an attempt as done; return whether its result is still awaited.

        ``tokens`` are those that the provider counted, if it did.
        """
        with self._lock:
            attempt.batch_size = batch_size
            if tokens is not None and attempt.charged:
                self._attempts.queue.settle(attempt, tokens)
            return self._attempts.end(attempt)

    def abandon(self, attempt: Attempt) -> Batch | None:
        """Mark an attempt in flight as abandoned; return its batch if all of it is abandoned."""
        with self._lock:
            if attempt.state is not AttemptState.IN_FLIGHT:
                return None
            self._attempts.abandon(attempt)
            batch = attempt.batch
            if batch is None or batch.is_probe or self._open.get(batch.key) is batch:
                return None
            return None if batch.is_awaited else batch

    # After a refusal (see `app.dispatch.sending.bisection`)

    def requeue(self, attempts: Iterable[Attempt]) -> None:
        """Put attempts of a batch that was refused at the head of their queues again."""
        with self._lock:
            self._attempts.queue.add_first(self._attempts.set_queued(attempts))

    def hold(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Mark attempts as queued outside the queue, until a bisection's test has ended."""
        with self._lock:
            return self._attempts.set_queued(attempts)

    def replace(
        self, batch: Batch, attempts: Iterable[Attempt], refused_with: list[Attempt], now: float
    ) -> Batch | None:
        """Return a batch of ``attempts`` in the slot of a batch that has ended.

        None where no request waits for them. It is unsent, and has ``refused_with``, too, where
        the quota has no room, or the slot is not leased any more.
        """
        with self._lock:
            awaited = self._attempts.keep_awaited(attempts)
            if not awaited:
                return None
            reservation = None
            if self._may_retake():
                reservation = batch.deployment.quota.reserve(tokens_of(awaited), now)
            if reservation is None:
                returned = [*awaited, *self._attempts.keep_awaited(refused_with)]
                for attempt in returned:
                    self._attempts.end(attempt)
                return Batch.without_slot(returned)
            following = Batch.with_slot(awaited, batch.key, reservation, refused_with)
            following.calls_at_once = self._leaving.calls[batch.deployment]
            self._attempts.set_in_flight(awaited, following)
            return following

    # Under the lock

    def _take_next(self, now: float) -> Batch | None:
        """Return a batch of the group whose turn it is, if a slot may be taken for it.

        It is unsent in three cases: (1) a call of the first attempt would take too long by now, so
        that its job has to split the part; (2) the quota has no room for the first attempt, and
        will have none for longer than an attempt waits; (3) it has none for the batch.
        """
        if self.free <= 0 or not self._attempts.waiting:
            return None
        queue = self._attempts.queue
        first = queue.next(self._leaving.filter_for_pass(now), self._is_last_slot_kept)
        if first is None:
            return None
        deployment = first.deployment
        is_bulk = first.flow.tier == "flex"
        if first.size > 1 and not deployment.fits(first.size, first.tokens, is_bulk):
            self._attempts.end(first)
            return Batch.without_slot([first])
        if deployment.quota.wait_s(first.tokens, now) > 0:
            return Batch.without_slot(self._attempts.take_queued(deployment))
        merging = Merging(first, deployment.quota.tokens_left(now), now)
        is_suspect = deployment.refused_items.has_any(first.call.items, now)
        attempts = queue.take(first, None if is_suspect else merging)
        self._drain_rate.record_call(len(attempts), self._attempts.waiting, now)
        batch = self._start(first.group_key, attempts, now, merging)
        if batch is None:  # the quota has changed meanwhile
            self._attempts.queue.add_first(attempts)
            return Batch.without_slot(self._attempts.take_queued(deployment))
        if is_suspect:
            del self._open[batch.key]
        return batch

    def _start(
        self, key: Hashable, attempts: list[Attempt], now: float, merging: Merging | None = None
    ) -> Batch | None:
        """Take a slot and the quota for a batch; None where the quota has no room."""
        deployment = attempts[0].deployment
        reservation = deployment.quota.reserve(tokens_of(attempts), now)
        if reservation is None:
            return None
        self.free -= 1
        calls = self._leaving.calls
        calls[deployment] = calls.get(deployment, 0) + 1
        batch = self._open[key] = Batch.with_slot(attempts, key, reservation, [], merging)
        batch.opened_at, batch.calls_at_once = now, calls[deployment]
        self._attempts.set_in_flight(attempts, batch)
        return batch

    def _start_early(self, batch: Batch, now: float) -> Batch | None:
        """Close a batch and return it, if its call is to start before its sender runs."""
        if self.adaptive is not None:  # its slots are as many as help with the largest calls
            return None
        deployment, slots, free = batch.deployment, self.slots, self.free
        if (limit := deployment.concurrency) is not None:
            slots, free = min(slots, limit), min(free, limit - self._leaving.calls[deployment])
        if not batch.may_start_early(self._attempts.outstanding[deployment], slots, free, now):
            return None
        del self._open[batch.key]
        batch.starts_early, batch.threads = True, 2
        return batch

    def _may_start(self, attempt: Attempt, now: float) -> bool:
        """Whether there is a slot for an attempt, where no other waits for one."""
        if self.free <= 0 or (self._is_last_slot_kept and attempt.flow.tier == "flex"):
            return False
        return self._leaving.may_leave(attempt, now)

    def _may_retake(self) -> bool:
        """Whether a call may follow in the slot of one that ends."""
        return True
