"""A closed loop of clients before an engine, in virtual time, for tests of the adaptive limit."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from app.dispatch.queue.adaptive import AdaptiveLimit

START = 1000.0


@dataclass(frozen=True)
class Moment:
    """The state after a call."""

    at: float  # since the start
    limits: tuple[int, ...]  # of the workers
    slots: tuple[int, ...]
    calls: int  # until now
    work: float  # items until now


@dataclass(frozen=True)
class Engine:
    """An engine that computes ``capacity`` calls at once, and lets the others wait, in order."""

    capacity: Callable[[float], int]
    seconds: Callable[[int], float] = lambda items: 0.05  # that a call takes, by its items
    noise: float = 0.0  # the share by which that varies
    slowdown: Callable[[int], float] = lambda in_flight: 1.0  # by the calls in flight


def run(
    engine: Engine,
    workers: Sequence[AdaptiveLimit | int],
    seconds: float,
    clients: int = 256,
    sizes: Sequence[int] = (1,),
    seed: int = 1,
) -> list[Moment]:
    """Let clients ask without a pause, an equal number of them at each worker."""
    rng, number = random.Random(seed), count()
    now, calls, work = START, 0, 0.0
    in_flight, clients_waiting = [0] * len(workers), [clients // len(workers)] * len(workers)
    waiting, ends, moments = deque(), [], []

    def slots(worker: int) -> int:
        limit = workers[worker]
        return limit if isinstance(limit, int) else limit.slots(now)

    def send() -> None:
        for worker in range(len(workers)):
            while in_flight[worker] < slots(worker) and clients_waiting[worker]:
                clients_waiting[worker] -= 1
                in_flight[worker] += 1
                was_full = in_flight[worker] >= slots(worker)
                waiting.append((worker, rng.choice(sizes), in_flight[worker], was_full, now))
        while waiting and len(ends) < engine.capacity(now - START):
            call = waiting.popleft()
            took = engine.seconds(call[1]) * (1 + engine.noise * rng.uniform(-1, 1))
            took *= engine.slowdown(sum(in_flight))
            heapq.heappush(ends, (now + took, next(number), call))

    send()
    while now < START + seconds:
        now, _, (worker, items, with_it, was_full, started_at) = heapq.heappop(ends)
        in_flight[worker] -= 1
        clients_waiting[worker] += 1
        calls, work = calls + 1, work + items
        limit = workers[worker]
        if isinstance(limit, AdaptiveLimit):
            limit.record_success("d", (items, 10 * items), 1, with_it, was_full, started_at, now)
        send()
        limits = tuple(one if isinstance(one, int) else one.limit for one in workers)
        all_slots = tuple(map(slots, range(len(workers))))
        moments.append(Moment(now - START, limits, all_slots, calls, work))
    return moments


def throughput(moments: Sequence[Moment], since: float) -> float:
    """Return the items a second after a time."""
    later = [moment for moment in moments if moment.at > since]
    return (later[-1].work - later[0].work) / (later[-1].at - later[0].at)


def first(moments: Sequence[Moment], since: float, reached: Callable[[int], bool]) -> int:
    """Return the calls from a time on until the sum of the limits is as wanted."""
    before = next(moment.calls for moment in moments if moment.at >= since)
    return next(m.calls for m in moments if m.at >= since and reached(sum(m.limits))) - before
