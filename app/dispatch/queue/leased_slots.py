"""The slots of a provider that all workers and hosts share: this worker's lease of them. No I/O.

A shared store leases slots to workers. `LeasedSlotQueue` says what to ask it for
(`start_exchange`), and takes its answer (`end_exchange`); `app.limits.leases.server_leases` asks a
server, `app.limits.leases.host_store`, without one, a file that the workers of this host share. In
an exchange the worker names the slots that it keeps, which returns the others, and what it needs.
There are two modes:

1. *leased*: calls start in the slots of the lease, until some seconds after the question for it
   was sent. The store counts the slots of a silent worker until calls that started then have ended.
2. *share*: the store is away. The worker has its share of the slots, as without a store. Where
   its last lease was less than the share, other workers may still have calls in the rest: it uses
   the rest, except for one slot, once those must have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.shares import calls_of_worker

if TYPE_CHECKING:
    from app.dispatch.queue.attempts import Attempt
    from app.dispatch.queue.batch import Batch

#: Seconds for which a lease lasts.
LEASE_S = 5.0
#: Seconds between two exchanges of a worker, at most.
EXCHANGE_S = 0.5
#: Seconds between two exchanges, at least, of a worker whose attempts wait, while it has no slot.
POLL_S = 0.1
#: The same while it has slots.
BUSY_POLL_S = 0.25
#: `POLL_S` and `BUSY_POLL_S` are times this, where the store is a file of this host.
HOST_POLL_FACTOR = 0.2
#: Seconds between two exchanges, at least, of a worker that returns slots as its calls end.
RETURN_S = 0.02
#: Seconds for which a worker that starts waits for the store's first answer.
JOIN_S = 1.0
#: The same, where the store is a file of this host: its answer is late only where the worker is.
HOST_JOIN_S = 10.0
#: Seconds for which a worker whose last call has ended still needs a slot.
RECENT_S = 10.0
#: Seconds that a call may last beyond its provider's timeout, with the start of its thread.
CALL_MARGIN_S = 2.0
_INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class SlotLeaseRequest:
    """What a worker keeps and needs, at a time of its clock."""

    at: float
    number: int  # of this worker's exchanges: the store ignores one that comes after a later one
    kept: int  # slots that the worker goes on using, those of calls in flight among them
    needed: int  # slots that it could use now
    is_busy: bool  # a call is in flight, or an attempt waits for a slot
    lacks_slot: bool  # an attempt waits for one
    is_leaving: bool  # the worker ends, and returns all


@dataclass(frozen=True, slots=True)
class SlotLease:
    """The store's answer."""

    slots: int  # leased, those that the worker has kept among them
    entitled: int  # that it may go on using: those above are returned as their calls end
    others_lack_slots: bool  # at least one other worker does
    members: int  # workers that use the provider
    rank: int  # number of workers before this one: the first ones share the remainder of a division
    is_known: bool = True  # always, as there is no report that could be lost: see `Lease.is_known`


class LeasedSlotQueue(SlotQueue):
    """A `SlotQueue` whose slots are leased; all workers together have ``limit``.

    ``workers`` are those of this host; a call lasts at most ``max_call_s``. A worker that starts
    waits for the store's first answer up to ``join_s``. ``on_need`` is called, under the lock, when
    an exchange should come soon; while an attempt lacks a slot, every `POLL_S` or `BUSY_POLL_S`,
    times ``poll_factor``.
    """

    def __init__(
        self,
        limit: int,
        workers: int,
        max_call_s: float,
        max_waiting: int = 1000,
        poll_factor: float = 1.0,
        join_s: float = JOIN_S,
    ) -> None:
        self.limit = limit
        self.is_leased = False
        self.on_need: Callable[[], None] | None = None
        self._workers = workers
        self._poll_factor, self._join_s = poll_factor, join_s
        self._share = calls_of_worker(limit, workers)
        self._held = 0  # slots that the store counts for this worker, at least
        self._entitled = 0  # slots that it may go on using: see `SlotLease`
        self._others_lack_slots = False
        #: When the mode ends. Leased: the lease expires. Share: all of the share may be used, not
        #: only as many slots as the last lease had; infinite: all of it is in use.
        self._mode_ends_at = _INFINITE
        #: Seconds after a last exchange within which all calls have ended that another worker, or
        #: this one, may have started in the slots of a lease.
        self.hold_s = LEASE_S + max_call_s + CALL_MARGIN_S
        self._exchange: SlotLeaseRequest | None = None  # under way
        self._exchanged_at = -_INFINITE  # the last exchange
        self._asked_at = -_INFINITE  # the last exchange in which an attempt lacked a slot
        self._number = 0
        self._peak = 0  # slots that could have been used since the last exchange
        self._used_at = -_INFINITE  # when a slot was last looked for
        super().__init__(self._share, max_waiting)

    # Exchanges with the store

    def join(self, now: float) -> None:
        """Let calls wait up to ``join_s`` for the first answer of the store, then use the share."""
        with self._lock:
            self._mode_ends_at = now + self._join_s
            self._change_slots(0)

    def start_exchange(self, now: float, is_leaving: bool = False) -> SlotLeaseRequest:
        """Return what to ask the store now. What it does not keep is not used any more."""
        with self._lock:
            if now >= self._mode_ends_at:
                self._end_mode(now)
            taken, waiting = self.slots - self.free, self._attempts.waiting
            lacks_slot = waiting > 0 and self.free <= 0
            needed = max(taken + waiting if lacks_slot else taken, self._peak)
            if now < self._used_at + RECENT_S:
                needed = max(1, needed)
            usable = min(self._held, self._entitled) if self.is_leased else self.slots
            self._held = 0 if is_leaving else max(taken, usable)
            self._peak, self._exchanged_at = taken, now
            if lacks_slot:
                self._asked_at = now
            self._number += 1
            is_busy = taken > 0 or lacks_slot
            needed = min(self.limit, needed)
            self._exchange = SlotLeaseRequest(
                now, self._number, self._held, needed, is_busy, lacks_slot, is_leaving
            )
            return self._exchange

    def end_exchange(self, exchange: SlotLeaseRequest, lease: SlotLease | None, now: float) -> bool:
        """Take the store's answer, None for none; return False for that of an earlier exchange."""
        with self._lock:
            if self._exchange is not exchange:
                return False
            self._exchange = None
            if lease is not None:
                self._take(exchange, lease)
            elif self.is_leased:
                self._begin_share(now)
            return True

    # Under the lock

    def _take(self, exchange: SlotLeaseRequest, lease: SlotLease) -> None:
        """Use a lease. Its time is counted from when it was asked for."""
        self.is_leased, self._mode_ends_at = True, exchange.at + LEASE_S
        self._held, self._entitled = max(lease.slots, exchange.kept), lease.entitled
        self._others_lack_slots = lease.others_lack_slots
        each, remainder = divmod(self.limit, max(lease.members, self._workers))
        self._share = max(1, each + 1 if lease.rank < remainder else each)
        self._change_slots(min(self._held, self._entitled))

    def _begin_share(self, now: float) -> None:
        """Use the share, but no more slots than the lease had, and at least one.

        Without that one, a worker that had lent all its slots would make its requests wait until
        the calls in them must have ended: a minute. So all workers together may exceed the limit by
        one call for each worker.
        """
        self.is_leased, self._mode_ends_at = False, now + self.hold_s
        self._change_slots(max(1, min(self.slots, self._share)))

    def _end_mode(self, now: float) -> None:
        """After an expired lease use at most its slots; some time later, the whole share."""
        if self.is_leased:
            self._begin_share(now)
        elif self._exchange is None:  # the store counts what was used when it was asked
            self._mode_ends_at = _INFINITE
            self._change_slots(self._share)

    def _change_slots(self, slots: int) -> None:
        self.free += slots - self.slots
        self.slots = slots

    def _may_start(self, attempt: Attempt, now: float) -> bool:
        """See `SlotQueue._may_start`; counts the slot as one that could have been used."""
        if now >= self._mode_ends_at:
            self._end_mode(now)
        self._used_at = now
        slots_with_it = self.slots - self.free + 1
        if slots_with_it > self._peak:
            # Where it takes the last slot, more calls may follow: a request starts as many parts as
            # there are slots. Twice as many are asked for, so that their number can grow.
            self._peak = 2 * slots_with_it if slots_with_it >= self.slots > 0 else slots_with_it
        return super()._may_start(attempt, now)

    def _take_next(self, now: float) -> Batch | None:
        if now >= self._mode_ends_at:
            self._end_mode(now)
        batch = super()._take_next(now)
        if batch is None:
            self._plan_check(now)
        return batch

    def _may_retake(self) -> bool:
        """Whether a call may follow in the slot of one that ends: the lease, or share, has it."""
        return self.is_leased or self.free >= 0

    def _plan_check(self, now: float) -> None:
        """Have the queue checked later, or an exchange made now, where an attempt found no slot.

        There are three cases; in the last two the exchange is made now if it is due, else the queue
        is checked again when it is:

        1. Share: when all of the share may be used, attempts that wait may get a slot.
        2. Leased, and another worker lacks slots that this one has above what it is entitled to:
           they are returned every `RETURN_S`, as calls end.
        3. Leased, and an attempt lacks a slot: it is asked for every `POLL_S` or `BUSY_POLL_S`.
        """
        waiting = self._attempts.waiting
        if not self.is_leased:
            if waiting and self._mode_ends_at < _INFINITE and self.on_pause is not None:
                self.on_pause(self, max(self._mode_ends_at, now + RETURN_S))
            return
        if self._others_lack_slots and self._held > max(self._entitled, self.slots - self.free):
            every, due_at = RETURN_S, self._exchanged_at + RETURN_S
        elif waiting and self.free <= 0 and self.slots < self.limit:
            every = (BUSY_POLL_S if self.slots > 0 else POLL_S) * self._poll_factor
            due_at = self._asked_at + every
        else:
            return
        if due_at > now:
            if self.on_pause is not None:
                self.on_pause(self, due_at)
        elif self.on_need is not None:
            self.on_need()
            if self.on_pause is not None:
                self.on_pause(self, now + every)
