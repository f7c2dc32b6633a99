"""Makes the leases by which workers share quotas of deployments and slots of providers.

redis-py is imported only where the settings name a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config import LimitSettings, Settings
from app.dispatch.queue.leased_slots import EXCHANGE_S as SLOT_EXCHANGE_S
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.lease import EXCHANGE_S as QUOTA_EXCHANGE_S

if TYPE_CHECKING:
    from app.dispatch import Dispatcher
    from app.limits.leases.leases import Leases


def make_leases(
    settings: Settings, dispatcher: Dispatcher, host_store: Path | None
) -> list[Leases]:
    """Make the leases of quotas of deployments and of slots of providers.

    There are three cases: (1) with ``LIMITS["url"]`` both are shared by all workers and hosts;
    (2) without it, slots are shared by the workers of this host, by files in the directory
    ``host_store``; (3) where that is None, nothing is shared.
    """
    if settings.limits.url is not None:
        return _of_server(settings.limits, settings.limits.url, dispatcher)
    queues = dispatcher.leased_queues()
    if host_store is None or not queues:
        return []
    from app.limits.leases.host_store import HostStore
    from app.limits.leases.leases import Leases

    store = partial(HostStore, host_store)
    return [
        Leases("", queues, HostStore.exchange, lambda name: dispatcher.resume(queues[name]), store)
    ]


def _of_server(limits: LimitSettings, url: str, dispatcher: Dispatcher) -> list[Leases]:
    from app.limits.leases.leases import Leases
    from app.limits.leases.server_leases import ask_for_quota, ask_for_slots
    from app.redis.client import BestEffortClient

    def make(
        purpose: str,
        round_s: float,
        leased: Mapping[str, Any],
        ask: Any,
        queue_of: Callable[[str], SlotQueue],
    ) -> Leases:
        return Leases(
            f"{limits.namespace}:{purpose}:1:",
            leased,
            ask,
            lambda name: dispatcher.resume(queue_of(name)),
            lambda exchange: BestEffortClient(
                url, limits.timeout, purpose, exchange, round_s=round_s
            ),
        )

    deployments, queues = dispatcher.leased_quotas(), dispatcher.leased_queues()
    quotas = {name: d.quota for name, d in deployments.items()}
    made = []
    if quotas:
        queue_of = {name: d.queue for name, d in deployments.items()}.__getitem__
        made.append(make("quota", QUOTA_EXCHANGE_S, quotas, ask_for_quota, queue_of))
    if queues:
        made.append(make("slots", SLOT_EXCHANGE_S, queues, ask_for_slots, queues.__getitem__))
    return made
