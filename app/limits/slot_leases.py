"""Asks a Redis or Valkey for leases of a provider's slots: see `app.dispatch.leased_slots`."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError

from app.dispatch.leased_slots import LeasedSlotQueue
from app.dispatch.slot_lease import SlotExchange, SlotLease
from app.limits.slot_lease_script import EXCHANGE_SLOTS
from app.limits.worker_names import has_ended

_SHA = sha1(EXCHANGE_SLOTS.encode(), usedforsecurity=False).hexdigest()


def ask_for_slots(
    client: Any,
    redis_key: str,
    worker: str,
    queue: LeasedSlotQueue,
    exchange: SlotExchange,
    now: float | None = None,
) -> SlotLease | None:
    """Make one exchange with the server; None where a later one came first.

    ``now`` None: the server's clock.
    """
    arguments: list[Any] = ["" if now is None else repr(now), worker, int(exchange.is_leaving)]
    arguments += [queue.limit, queue.hold_s, exchange.number, exchange.kept, exchange.needed]
    arguments += [int(exchange.is_busy), int(exchange.lacks)]
    try:
        reply = client.evalsha(_SHA, 1, redis_key, *arguments)
    except NoScriptError:  # the server has restarted and lost its scripts
        reply = client.eval(EXCHANGE_SLOTS, 1, redis_key, *arguments)
    *numbers, silent = reply
    is_latest, slots, entitled, others_lack, members, rank = (int(number) for number in numbers)
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in silent]
    if ended := [f"w:{name}" for name in names if has_ended(name)]:
        client.hdel(redis_key, *ended)  # their calls have ended with them
    if not is_latest:
        return None
    return SlotLease(slots, entitled, bool(others_lack), members, rank)
