"""Workers that lease the slots of a provider, in virtual time: of a real Valkey or a table."""

from dataclasses import dataclass

from app.dispatch.queue.leased_slots import EXCHANGE_S, LeasedSlotQueue
from app.limits.leases.server_leases import ask_for_slots
from app.limits.leases.slot_table import SlotTable
from tests.dispatch.parts import attempt, deployment
from tests.limits.leases.fleet import START, Fleet, Worker

MAX_CALL_S = 4.0


@dataclass
class SlotWorker(Worker):
    """A worker with the queue of a provider, and its load."""

    queue: LeasedSlotQueue = None
    deployment: object = None
    backlog: bool = False  # for each call that ends another comes
    call_s: tuple[float, float] = (0.1, 0.1)
    in_flight: int = 0
    busy_s: float = 0.0  # of calls
    changed_at: float = 0.0


class HostTable:
    """The store of one host's workers without its file."""

    def __init__(self):
        self.table = SlotTable(START, START)
        self.is_lost = False

    def ask(self, worker, asked, now):
        if self.is_lost:
            self.table, self.is_lost = SlotTable(now, now), False
        queue = worker.queue
        return self.table.exchange(worker.name, queue.limit, queue.hold_s, asked, now)

    def flushall(self):
        self.is_lost = True


class SlotFleet(Fleet):
    """Workers of several hosts with calls at one provider, and the events to come."""

    exchange_s = EXCHANGE_S

    def __init__(self, redis, workers, slots, seed=0, network=None, per_host=16):
        self.in_flight = self.most = self.asked = 0
        self.waits = []  # when, in which worker, and how many seconds a call has waited
        super().__init__(redis, workers, slots, seed=seed, network=network, per_host=per_host)

    def add_worker(self):
        queue = LeasedSlotQueue(self.limits[0], self.per_host, MAX_CALL_S, 10**6)
        name, offset = f"w{next(self.numbers)}", self.rng.uniform(0, 1e5)
        worker = SlotWorker(name, queue, offset, queue=queue, deployment=deployment(queue=queue))
        queue.on_pause = lambda _, at: self.look_again(worker, at - self.time_of(worker))
        return self.join(worker)

    def ask(self, worker, asked):
        self.asked += 1
        at = START + self.now
        if isinstance(self.redis, HostTable):
            return self.redis.ask(worker, asked, at)
        return ask_for_slots(self.redis, "slots", worker.name, worker.queue, asked, at)

    def time_of(self, worker):
        return self.now + worker.clock_offset

    def demand(self, worker, calls, call_s=(0.1, 0.1), backlog=False):
        """Let so many calls come at a worker now; ``backlog``: and one for each that ends."""
        worker.call_s, worker.backlog = call_s, backlog
        for _ in range(calls):
            self.submit(worker)

    def submit(self, worker):
        if not worker.alive:
            return
        made = attempt(worker.deployment, group=None)
        made.queued_at = self.now
        self.start(worker, worker.queue.submit(made, self.time_of(worker)))

    def send(self, worker):
        while worker.alive and (batch := worker.queue.take_next(self.time_of(worker))) is not None:
            self.start(worker, batch)

    def start(self, worker, batch):
        if batch is None:
            return
        worker.queue.close(batch)
        (made,) = batch.attempts
        self.waits.append((self.now, worker, self.now - made.queued_at))
        self.count(worker, 1)
        self.after(self.rng.uniform(*worker.call_s), lambda: self.ended(worker, batch))

    def ended(self, worker, batch):
        """A call of a worker that has died ends, too: the provider works on it until then."""
        self.count(worker, -1)
        if not worker.alive:
            return
        worker.queue.finish_attempt(batch.attempts[0], 1)
        self.start(worker, worker.queue.finish(batch, self.time_of(worker)))
        if worker.backlog:
            self.submit(worker)

    def count(self, worker, number):
        self.settle_time(worker)
        worker.in_flight += number
        self.in_flight += number
        self.most = max(self.most, self.in_flight)

    def settle_time(self, worker):
        worker.busy_s += worker.in_flight * (self.now - worker.changed_at)
        worker.changed_at = self.now

    # Results

    def used(self, seconds):
        """Run so long; return the share of the slots that each worker has used."""
        before = {}
        for worker in self.workers:
            self.settle_time(worker)
            before[worker.name] = worker.busy_s
        self.run(seconds)
        for worker in self.workers:
            self.settle_time(worker)
        all_s = seconds * self.limits[0]
        return [(worker.busy_s - before.get(worker.name, 0)) / all_s for worker in self.workers]

    def longest_wait(self, worker, after=0.0):
        return max((wait for at, one, wait in self.waits if one is worker and at >= after))
