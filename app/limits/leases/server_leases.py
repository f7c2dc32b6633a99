"""Asks a Redis or Valkey for leases: of a deployment's quota, and of a provider's slots.

A worker's side is `app.dispatch.quotas.leased_quota` and `app.dispatch.queue.leased_slots`; the
server's are the scripts in `app.limits.leases.quota_lease_script` and
`app.limits.leases.slot_lease_script`.
"""

from __future__ import annotations

from typing import Any

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLease, SlotLeaseRequest
from app.dispatch.quotas.lease import LEASE_S, Lease, LeaseRequest
from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.quota_window import BURST_SHARE, WINDOW_S
from app.limits.leases.quota_lease_script import EXCHANGE_QUOTA
from app.limits.leases.slot_lease_script import EXCHANGE_SLOTS
from app.limits.leases.worker_names import has_ended
from app.limits.redis_evaluation import Script

_QUOTA_SCRIPT, _SLOT_SCRIPT = Script(EXCHANGE_QUOTA), Script(EXCHANGE_SLOTS)


def ask_for_quota(
    client: Any,
    redis_key: str,
    worker: str,
    quota: LeasedQuota,
    exchange: LeaseRequest,
    now: float | None = None,
) -> Lease:
    """Make one exchange of a quota with the server. ``now`` None: the server's clock."""
    arguments: list[Any] = ["" if now is None else repr(now), worker, int(exchange.is_leaving)]
    arguments += [LEASE_S, WINDOW_S, BURST_SHARE, *("" if n is None else n for n in quota.whole)]
    for amounts in (exchange.kept, exchange.needed, exchange.wanted):
        arguments += [f"{amount:.0f}" for amount in amounts]
    arguments.append(exchange.final_ever)
    for age, tokens in exchange.calls:
        arguments += [f"{age:.6f}", tokens]
    reply = _QUOTA_SCRIPT.evaluate(client, [redis_key], arguments)
    leased, known, *numbers = (int(value) for value in reply)
    calls, tokens, members, window_ms, pace_ms, spare_calls, spare_tokens, share_ms, rank = numbers
    return Lease(
        bool(leased),
        bool(known),
        calls,
        tokens,
        members,
        window_ms / 1000,
        pace_ms / 1000,
        spare_calls,
        spare_tokens,
        share_ms / 1000,
        rank,
    )


def ask_for_slots(
    client: Any,
    redis_key: str,
    worker: str,
    queue: LeasedSlotQueue,
    exchange: SlotLeaseRequest,
    now: float | None = None,
) -> SlotLease | None:
    """Make one exchange of slots with the server; None where a later one came first.

    ``now`` None: the server's clock.
    """
    arguments: list[Any] = ["" if now is None else repr(now), worker, int(exchange.is_leaving)]
    arguments += [queue.limit, queue.hold_s, exchange.number, exchange.kept, exchange.needed]
    arguments += [int(exchange.is_busy), int(exchange.lacks_slot)]
    *numbers, silent = _SLOT_SCRIPT.evaluate(client, [redis_key], arguments)
    is_latest, slots, entitled, others_lack, members, rank = (int(number) for number in numbers)
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in silent]
    if ended := [f"w:{name}" for name in names if has_ended(name)]:
        client.hdel(redis_key, *ended)  # their calls have ended with them
    if not is_latest:
        return None
    return SlotLease(slots, entitled, bool(others_lack), members, rank)
