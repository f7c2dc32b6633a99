"""Workers of the simulation that lease the slots of providers from one store, as those of a host.

The table of the store is the real one; a `VirtualStore` asks it for a worker, in virtual time.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLease, SlotLeaseRequest
from app.limits.leases.host_store import ROUND_S
from app.limits.leases.slot_table import SlotTable
from app.limits.leases.worker_leases import Leases
from tests.dispatch.internals import name_worker
from tests.dispatch.virtual import Wait, World

if TYPE_CHECKING:
    from app.dispatch import Dispatcher

MOST_DELAY_S = 0.002  # of a question or an answer, usually
LATE_S = 3.0  # of one that is late, at most


class Away(Exception):
    """The store does not answer."""


class Tables:
    """The tables of all providers, and the faults of the store, which end after some seconds."""

    def __init__(self, world: World, dice: random.Random, trouble_s: float) -> None:
        self.world, self.dice, self.began = world, dice, world.now
        self.trouble_over = world.now + trouble_s
        # One at a time: a new table may lease slots again before a late worker has told it of its.
        fault = dice.choice(["none", "late", "away", "lost"])
        self.late_rate = dice.choice([0.05, 0.3]) if fault == "late" else 0.0
        start = self.began + dice.uniform(0.0, trouble_s)
        length = dice.choice([3.0, 20.0]) if fault == "away" else 0.0
        self.away = (start, min(self.trouble_over, start + length))
        self.lost_at = start if fault == "lost" else float("inf")
        self._tables: dict[str, SlotTable] = {}

    def exchange(
        self, provider: str, worker: str, queue: LeasedSlotQueue, asked: SlotLeaseRequest
    ) -> SlotLease | None:
        """Return the answer to a question. Raises `Away`."""
        self._delay()
        now = self.world.now
        if self.away[0] <= now < self.away[1]:
            raise Away
        if now >= self.lost_at:
            self.lost_at = float("inf")
            self._tables = {name: SlotTable(now, now) for name in self._tables}
        table = self._tables.setdefault(provider, SlotTable(0.0, 0.0))
        lease = table.exchange(worker, queue.limit, queue.hold_s, asked, now)
        self._delay()
        return lease

    def _delay(self) -> None:
        is_late = self.world.now < self.trouble_over and self.dice.random() < self.late_rate
        self.world.pause(self.dice.uniform(0.0, LATE_S if is_late else MOST_DELAY_S))


class VirtualStore:
    """Makes the exchanges of one worker, while requests wait: as a `HostStore` does."""

    def __init__(
        self, tables: Tables, is_needed: Callable[[], bool], chores: Callable[[Any, bool], None]
    ) -> None:
        self._tables, self._is_needed, self._chores = tables, is_needed, chores
        self._round_at = 0.0
        self._is_running = self._is_awake = False
        self._wait: Wait | None = None

    @property
    def may_not_answer(self) -> bool:
        """Whether its faults let leases expire: each worker then has one slot at least."""
        return bool(self._tables.late_rate) or self._tables.away[0] < self._tables.away[1]

    def start(self) -> None:
        """Make exchanges until no request waits any more."""
        if not self._is_running:
            self._is_running = True
            self._tables.world.spawn(self._run)

    def wake(self) -> None:
        self._is_awake = True
        if self._wait is not None:
            self._wait.wake()

    def close(self) -> None:
        """Nothing: the simulation ends."""

    def exchange(self, *question: Any) -> SlotLease | None:
        return self._tables.exchange(*question)

    def _run(self) -> None:
        world = self._tables.world
        while self._is_needed():
            is_due = world.now >= self._round_at
            if is_due:
                self._round_at = world.now + ROUND_S
            self._is_awake = False
            try:
                self._chores(self, is_due)
            except Away:
                self._is_awake = False  # the next try is that of the next round
            if not self._is_awake and self._round_at > world.now:
                self._wait = Wait(world)
                world.pause(self._round_at - world.now, self._wait)
                self._wait = None
        self._is_running = False


def share_slots(
    world: World,
    dispatchers: "list[Dispatcher]",
    dice: random.Random,
    is_needed: Callable[[], bool],
    trouble_s: float,
) -> list[VirtualStore]:
    """Let the workers lease their slots from now on; return their stores."""
    tables, stores = Tables(world, dice, trouble_s), []
    for number, dispatcher in enumerate(dispatchers):
        queues = dispatcher.leased_queues()

        def resume(name: str, dispatcher: Any = dispatcher, queues: Any = queues) -> None:
            dispatcher.resume(queues[name])

        def connect(chores: Any) -> VirtualStore:
            stores.append(VirtualStore(tables, is_needed, chores))
            return stores[-1]

        leases = Leases("", queues, VirtualStore.exchange, resume, connect)
        leases.start()
        name_worker(leases, f"w{number}")
    return stores
