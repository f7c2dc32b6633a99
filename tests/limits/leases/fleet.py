"""Workers that have leases of a real Valkey, in virtual time: `Fleet` those of a quota."""

import heapq
import itertools
import random
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial

from app.dispatch.quotas.lease import EXCHANGE_S
from app.dispatch.quotas.leased_quota import LeasedQuota
from app.limits.leases.server_leases import ask_for_quota

START = 1_000_000.0  # of the server's clock
WINDOW = 60.0


@dataclass
class Network:
    """What becomes of questions to the store."""

    latency: float = 0.002  # seconds each way, at most twice as long
    lost: float = 0.0  # share of the questions, and of the answers
    late: float = 0.0  # share of the answers that come within three seconds
    away: tuple[float, float] = (0.0, 0.0)  # seconds from the start: nothing is answered


@dataclass
class Worker:
    """One worker: its quota, its calls that wait, and whether it lives."""

    name: str
    quota: object  # or slots: what is leased
    clock_offset: float  # of its monotonic clock
    waiting: int = 0
    tokens: int = 0  # of each call
    asks: bool = False
    asked_at: float = -1.0
    alive: bool = True
    refused: int = 0
    looks_at: float = float("inf")  # when what waits is looked at again


@dataclass(order=True)
class _Event:
    at: float
    number: int
    do: object = field(compare=False)


class Fleet:
    """Workers of several hosts, all their calls, and the events to come."""

    exchange_s = EXCHANGE_S

    def __init__(self, redis, workers, requests, tokens=None, seed=0, network=None, per_host=16):
        self.redis, self.rng = redis, random.Random(seed)
        self.network = network or Network()
        self.limits = requests, tokens
        self.now = 0.0
        self.sent = []  # when, and its real tokens
        self.events, self.numbers = [], itertools.count()
        self.workers = []
        self.per_host = min(per_host, workers)
        for _ in range(workers):
            self.add_worker()

    def add_worker(self):
        quota = LeasedQuota(*self.limits, self.per_host)
        worker = Worker(f"w{next(self.numbers)}", quota, self.rng.uniform(0, 1e5))
        return self.join(worker)

    def join(self, worker):
        quota = worker.quota
        quota.on_need = lambda: self.after(0.01, lambda: self.exchange(worker))
        quota.join(self.now + worker.clock_offset)
        self.workers.append(worker)
        self.round(worker)
        return worker

    def after(self, seconds, do):
        heapq.heappush(self.events, _Event(self.now + seconds, next(self.numbers), do))

    def run(self, seconds):
        end = self.now + seconds
        while self.events and self.events[0].at <= end:
            event = heapq.heappop(self.events)
            self.now = event.at
            event.do()
        self.now = end

    # Workers

    def round(self, worker):
        if worker.alive:
            self.exchange(worker)
            self.after(self.exchange_s, lambda: self.round(worker))

    def exchange(self, worker):
        """One exchange at a time, with two tries for a worker that the store did not know."""
        if not worker.alive or worker.asks:
            return
        if self.now - worker.asked_at < 0.01:
            self.after(0.01, lambda: self.exchange(worker))
            return
        worker.asks, worker.asked_at = True, self.now
        asked = worker.quota.start_exchange(self.now + worker.clock_offset)
        network, rng = self.network, self.rng
        is_away = network.away[0] <= self.now < network.away[1]
        if is_away or rng.random() < network.lost:
            self.after(1.0, lambda: self.answered(worker, asked, None))
            return
        wait = rng.uniform(0, 2 * network.latency)
        self.after(wait, lambda: self.at_store(worker, asked, rng.random()))

    def at_store(self, worker, asked, luck):
        lease = self.ask(worker, asked)
        network, rng = self.network, self.rng
        wait = rng.uniform(0, 2 * network.latency)
        if luck < network.lost:
            self.after(1.0, lambda: self.answered(worker, asked, None))
            return
        if luck < network.lost + network.late:
            wait = rng.uniform(0, 3)
        self.after(wait, lambda: self.answered(worker, asked, lease))

    def ask(self, worker, asked):
        return ask_for_quota(
            self.redis, "quota", worker.name, worker.quota, asked, START + self.now
        )

    def answered(self, worker, asked, lease):
        worker.asks = False
        if worker.alive:
            worker.quota.end_exchange(asked, lease, self.now + worker.clock_offset)
            if lease is not None and not lease.is_known:
                self.exchange(worker)
            self.send(worker)

    # Calls

    def demand(self, worker, calls, tokens=1):
        worker.waiting += calls
        worker.tokens = tokens
        self.send(worker)

    def send(self, worker):
        """Send what waits, as the queue does."""
        quota, now = worker.quota, self.now + worker.clock_offset
        while worker.alive and worker.waiting:
            pause = quota.pause_s(worker.tokens, now, now + 600)
            if pause:
                self.look_again(worker, pause)
                return
            made = quota.reserve(worker.tokens, now)
            if made is None:  # refused: it comes again after the wait
                worker.refused += 1
                wait = max(0.05, quota.wait_s(worker.tokens, now))
                self.look_again(worker, min(wait, 5))
                return
            worker.waiting -= 1
            real = self.rng.randint(1, worker.tokens)
            self.sent.append((self.now, worker.tokens))
            place = len(self.sent) - 1
            self.after(self.rng.uniform(0.05, 2), partial(self.settle, worker, made, real, place))

    def look_again(self, worker, seconds):
        """Call `send` once after the shortest of the pauses, as `PausedQueues` does."""
        at = self.now + seconds + 0.001
        if at < worker.looks_at:
            worker.looks_at = at
            self.after(at - self.now, partial(self.look, worker, at))

    def look(self, worker, at):
        if worker.looks_at == at:
            worker.looks_at = float("inf")
            self.send(worker)

    def settle(self, worker, made, real, place):
        worker.quota.settle(made, real)
        self.sent[place] = self.sent[place][0], real

    # Results

    def most(self, after=0.0, seconds=WINDOW):
        """Return the most calls, and tokens, within so many seconds."""
        sent = [(at, tokens) for at, tokens in self.sent if at >= after]
        times = [at for at, _ in sent]
        sums = [0, *itertools.accumulate(tokens for _, tokens in sent)]
        ends = [bisect_left(times, at + seconds) for at in times]
        calls = max((end - i for i, end in enumerate(ends)), default=0)
        tokens = max((sums[end] - sums[i] for i, end in enumerate(ends)), default=0)
        return calls, tokens

    def sent_between(self, start, end):
        within = [(at, tokens) for at, tokens in self.sent if start <= at < end]
        return len(within), sum(tokens for _, tokens in within)
