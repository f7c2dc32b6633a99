"""Workers of the simulation that lease the slots of providers from one store, as those of a host.

The table of the store is the real one; a `VirtualStore` asks it for a worker, in virtual time.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLease, SlotLeaseRequest
from app.limits.leases.host_store import ROUND_S
from app.limits.leases.slot_table import SlotTable
from app.limits.leases.worker_leases import Leases
from tests.dispatch.lifetimes import Lifetime
from tests.dispatch.virtual import Wait, World

if TYPE_CHECKING:
    from app.dispatch import Dispatcher

MOST_DELAY_S = 0.002  # of a question or an answer, usually
LATE_S = 3.0  # of one that is late, at most
STOP_LOOK_S = 0.01  # between two looks whether a worker that stops has ended its requests


class Away(Exception):
    """The store does not answer."""


class Tables:
    """The tables of all providers, and the faults of the store, which end after some seconds."""

    def __init__(
        self, world: World, dice: random.Random, trouble_s: float, may_be_away: bool
    ) -> None:
        self.world, self.dice, self.began = world, dice, world.now
        self.trouble_over = world.now + trouble_s
        # One at a time: a new table may lease slots again before a late worker has told it of its.
        fault = dice.choice(["none", "late", "away" if may_be_away else "none", "lost"])
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
        self._is_running = self._is_awake = self._is_closed = False
        self._wait: Wait | None = None

    @property
    def may_not_answer(self) -> bool:
        """Whether its faults let leases expire: each worker then has one slot at least."""
        return bool(self._tables.late_rate) or self._tables.away[0] < self._tables.away[1]

    def start(self) -> None:
        """Make exchanges until no request waits any more.

        As a thread may, its task may begin before the caller goes on.
        """
        if self._is_running or self._is_closed:
            return
        self._is_running = True
        world = self._tables.world
        start = world.run_first if self._tables.dice.random() < 0.5 else world.spawn
        start(self._run)

    def wake(self) -> None:
        self._is_awake = True
        if self._wait is not None:
            self._wait.wake()

    def close(self) -> None:
        """Make the last exchanges."""
        self._is_closed = True
        if self._is_running:
            self.wake()
        else:
            self._tables.world.spawn(self._leave)

    def exchange(self, *question: Any) -> SlotLease | None:
        return self._tables.exchange(*question)

    def _run(self) -> None:
        world = self._tables.world
        while self._is_needed() and not self._is_closed:
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
        if self._is_closed:
            self._leave()

    def _leave(self) -> None:
        with suppress(Away):
            self._chores(self, True)


def share_slots(
    world: World,
    dispatchers: "list[Dispatcher]",
    lifetimes: Sequence[Lifetime],
    dice: random.Random,
    waits: Callable[[int | None], bool],
    trouble_s: float,
) -> list[VirtualStore]:
    """Let the workers lease their slots while they live; return their stores.

    ``waits`` returns whether a request waits for its answer: of a worker, or any.
    """
    # One that starts while the store is away uses its share, whatever others do (docs/dispatch.md).
    may_be_away = not any(life.starts_at for life in lifetimes)
    tables, stores = Tables(world, dice, trouble_s, may_be_away), []
    for number, (dispatcher, life) in enumerate(zip(dispatchers, lifetimes, strict=True)):
        queues = dispatcher.leased_queues()

        def resume(name: str, dispatcher: Any = dispatcher, queues: Any = queues) -> None:
            dispatcher.resume(queues[name])

        def connect(chores: Any) -> VirtualStore:
            stores.append(VirtualStore(tables, lambda: waits(None), chores))
            return stores[-1]

        leases = Leases("", queues, VirtualStore.exchange, resume, connect)
        if life.starts_at == 0:
            leases.start()
        else:
            world.at(world.now + life.starts_at, partial(world.spawn, leases.start))
        if life.stops_at < float("inf"):
            stop = partial(_close_when_idle, world, leases, queues, partial(waits, number))
            world.at(world.now + life.stops_at, partial(world.spawn, stop))
    return stores


def _close_when_idle(
    world: World, leases: Leases, queues: dict[str, LeasedSlotQueue], waits: Callable[[], bool]
) -> None:
    """Return the leases of a worker that stops, when its requests and its calls have ended."""
    while waits() or any(queue.free < queue.slots for queue in queues.values()):
        world.pause(STOP_LOOK_S)
    leases.close()
