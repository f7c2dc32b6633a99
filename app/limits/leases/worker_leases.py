"""The leases of one worker: what it needs of the quotas and slots that all workers share.

A background task asks for leases, so that no call waits for a round trip of its own. redis-py is
imported only where the settings name a server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.config import LimitSettings, Settings
from app.dispatch.queue.leased_slots import EXCHANGE_S as SLOT_EXCHANGE_S
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.quotas.lease import EXCHANGE_S as QUOTA_EXCHANGE_S
from app.limits.leases.worker_names import new_worker_name

if TYPE_CHECKING:
    from app.dispatch import Dispatcher
    from app.redis.client import Chores


class Leased(Protocol):
    """What a worker leases: a `LeasedQuota`, or the slots of a `LeasedSlotQueue`."""

    on_need: Callable[[], None] | None

    def join(self, now: float) -> None: ...

    def start_exchange(self, now: float, is_leaving: bool = False) -> Any: ...

    def end_exchange(self, exchange: Any, lease: Any, now: float) -> bool: ...


class Store(Protocol):
    """Leases to all workers: a `BestEffortClient` of a server, or a `HostStore`.

    Its background task calls the chores that it was made with.
    """

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Leases:
    """Keeps the leases of one worker, by exchanges with a store in the background.

    ``leased`` are the quotas or the queues, by name; ``prefix`` begins their names in the store.
    ``ask`` makes one exchange: its arguments are the store's client, a name there, the worker's
    name, what is leased and the question. ``connect`` returns the store for the chores that it is
    given. ``resume`` is called with a name after its exchange: attempts that wait may leave then.
    """

    def __init__(
        self,
        prefix: str,
        leased: Mapping[str, Leased],
        ask: Callable[[Any, str, str, Any, Any], Any],
        resume: Callable[[str], None],
        connect: Callable[[Chores], Store],
    ) -> None:
        self._prefix = prefix
        self._leased = leased
        self._ask = ask
        self._resume = resume
        self._worker = ""
        #: Names that need an exchange before the next round, in the order of their need.
        self._needed: dict[str, None] = {}
        self._is_leaving = False
        self._store = connect(self._exchange)

    def start(self) -> None:
        """Start the background task, in the process that serves."""
        self._worker = new_worker_name()
        # Before the first exchange, which the task may make at once: it names the slots that the
        # worker keeps, which are none.
        for name, leased in self._leased.items():
            leased.on_need = partial(self._need, name)
            leased.join(time.monotonic())
        self._store.start()

    def close(self) -> None:
        """Return all leases, and close the connections."""
        self._is_leaving = True
        self._store.close()

    def _need(self, name: str) -> None:
        self._needed[name] = None
        self._store.wake()

    def _exchange(self, client: Any, is_due: bool) -> None:
        """Make the exchanges that are due or needed; in the background task of the store."""
        names = list(self._leased) if is_due or self._is_leaving else list(self._needed)
        try:
            for name in names:
                self._needed.pop(name, None)
                if not self._exchange_one(client, name):
                    self._exchange_one(client, name)
        except BaseException:
            for name, leased in self._leased.items():  # a lease is of no use without the next
                now = time.monotonic()
                leased.end_exchange(leased.start_exchange(now), None, now)
                self._resume(name)
            raise

    def _exchange_one(self, client: Any, name: str) -> bool:
        """Make one exchange; return False for a worker that has to report again."""
        leased = self._leased[name]
        exchange = leased.start_exchange(time.monotonic(), self._is_leaving)
        lease = None
        try:
            lease = self._ask(client, self._prefix + name, self._worker, leased, exchange)
        finally:
            leased.end_exchange(exchange, lease, time.monotonic())
        self._resume(name)
        return lease is None or lease.is_known or exchange.is_leaving


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

    store = partial(HostStore, host_store)
    return [
        Leases("", queues, HostStore.exchange, lambda name: dispatcher.resume(queues[name]), store)
    ]


def _of_server(limits: LimitSettings, url: str, dispatcher: Dispatcher) -> list[Leases]:
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
