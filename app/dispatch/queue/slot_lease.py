"""What a worker asks of the store of a provider's slots, and the answer. See `leased_slots`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotLeaseRequest:
    """What a worker keeps and needs, at a time of its clock."""

    at: float
    number: int  # of this worker's exchanges: the store ignores one that comes after a later one
    kept: int  # slots that the worker goes on using, those of calls in flight among them
    needed: int  # slots that it could use now
    is_busy: bool  # a call is in flight, or an attempt waits for a slot
    lacks: bool  # an attempt waits for a slot
    is_leaving: bool  # the worker ends, and returns all


@dataclass(frozen=True, slots=True)
class SlotLease:
    """The store's answer."""

    slots: int  # leased, those that the worker has kept among them
    entitled: int  # that it may go on using: those above are returned as their calls end
    is_urgent: bool  # another worker lacks slots
    members: int  # workers that use the provider
    rank: int  # number of workers before this one: the first ones share the remainder of a division
    is_known: bool = True  # always, as there is no report that could be lost: see `Lease.is_known`
