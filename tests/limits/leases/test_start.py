"""The start of a worker that leases slots, while another one has them all."""

import time

from app.dispatch.queue.leased_slots import LeasedSlotQueue, SlotLeaseRequest
from app.limits.leases.slot_table import SlotTable
from app.limits.leases.worker_leases import Leases

SLOTS = 6


class StoreAtOnce:
    """A store whose background task makes its first exchanges before `start` returns.

    A thread may do so: its starter may get the processor back later.
    """

    def __init__(self, chores):
        self.chores = chores
        self.table = SlotTable(0.0, 0.0)
        self.questions = []

    def start(self):
        self.chores(self, True)

    def wake(self):
        """Nothing: the test makes no further exchange."""

    def exchange(self, name, worker, queue, asked):
        self.questions.append(asked)
        return self.table.exchange(worker, queue.limit, queue.hold_s, asked, asked.at)


def test_worker_that_starts_uses_no_slot_that_another_has():
    stores = []

    def connect(chores):
        stores.append(StoreAtOnce(chores))
        return stores[0]

    queue = LeasedSlotQueue(SLOTS, 2, 1.0)
    leases = Leases("", {"p": queue}, StoreAtOnce.exchange, lambda name: None, connect)
    (store,) = stores
    now = time.monotonic()
    idle = SlotLeaseRequest(now, 1, 0, 0, False, False, False)
    assert store.table.exchange("other", SLOTS, queue.hold_s, idle, now).slots == SLOTS
    leases.start()
    assert [asked.kept for asked in store.questions] == [0]
    assert queue.slots == 0
