"""A worker under gevent with a slot queue, its clients and its provider, in virtual time.

The worker computes one thing at a time. In each turn of its event loop it first handles all that
has arrived on sockets, requests and answers of the provider; then the callbacks: senders that were
started, and requests that have their vectors. Each client asks again after its answer. The seconds
of processor time are about those of the real worker, so that what matters is their ratio.
"""

import heapq
import random
import statistics
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from app.dispatch.queue.attempts import Attempt
from app.dispatch.queue.batch import Batch
from app.dispatch.queue.slot_queue import SlotQueue
from tests.dispatch.parts import attempt, deployment

READ_S, ANSWER_S = 0.00017, 0.00008  # of a request
CALL_S, RESULT_S = 0.00010, 0.00006  # of a call …
ITEM_S = 0.00001  # … and of each of its requests, for both
TURN_S = 0.00002
CALLBACKS_S = 0.005  # after which gevent looks at sockets again
CLIENT_S = 0.000025  # of the program that all clients share


@dataclass(frozen=True)
class Figures:
    """What clients and the provider have seen, after the first half of the time."""

    rate: float
    p50_ms: float
    cpu_ms: float  # of the worker, for each request
    requests_a_call: float


@dataclass
class EventLoop:
    """``seconds``: of each call; ``at_once``: those that the provider works on, the others wait.

    ``stalls`` a second: how often the worker does not run, for 8 ms on average.
    """

    clients: int
    seconds: float
    slots: int = 64
    merges: bool = True
    at_once: int = 10**6
    stalls: float = 0.0
    seed: int = 5
    now: float = 1000.0
    busy_s: float = 0.0
    answers: list[tuple[float, float]] = field(default_factory=list)  # when, and after how long
    calls: list[tuple[float, int]] = field(default_factory=list)  # when, and of how many requests

    def __post_init__(self) -> None:
        self.queue = SlotQueue(self.slots)
        self.deployment = deployment("a", self.queue)
        self._random = random.Random(self.seed)
        self._events: list[tuple[float, int, Any]] = []  # outside of the worker
        self._numbers = count()
        self._ready: list[Any] = []  # sockets
        self._callbacks = deque[Any]()
        self._at_work, self._queued = 0, deque[Batch]()  # at the provider
        self._client_at = 0.0
        self._called_at: dict[Batch, float] = {}

    def run(self, seconds: float = 2.0) -> Figures:
        """Run the worker for so many seconds."""
        start = self.now
        for number in range(self.clients):
            self._at(start + number * CLIENT_S, self._arrive)
        while self.now < start + seconds:
            if not self._ready and not self._callbacks:
                self.now = max(self.now, self._events[0][0])
            self._spend(TURN_S)
            ready, self._ready = self._ready, []
            for handle in ready:
                handle()
            self._run_callbacks()
        half = start + seconds / 2
        waits = [wait for at, wait in self.answers if at > half]
        return Figures(
            len(waits) / (seconds / 2),
            1000 * statistics.median(waits),
            1000 * self.busy_s / len(self.answers),
            statistics.mean(number for at, number in self.calls if at > half),
        )

    # In the worker

    def _spend(self, seconds: float) -> None:
        self.busy_s += seconds
        self.now += seconds
        if self._random.random() < seconds * self.stalls:
            self.now += self._random.expovariate(1 / 0.008)
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()

    def _run_callbacks(self) -> None:
        start = self.now
        while self._callbacks and self.now < start + CALLBACKS_S:
            self._callbacks.popleft()()

    def _read(self, sent_at: float) -> None:
        self._spend(READ_S)
        group = "g" if self.merges else None
        one = attempt(self.deployment, group=group, deadline=self.now + 60, arrived_at=sent_at)
        self._send(self.queue.submit(one, self.now))

    def _send(self, batch: Batch | None) -> None:
        if batch is not None and batch.starts_early:
            self._call(batch)
        elif batch is not None:
            self._callbacks.append(partial(self._call, batch))

    def _call(self, batch: Batch) -> None:
        if not self.queue.claim(batch):
            return
        self.queue.close(batch)
        self._called_at[batch] = self.now
        self._spend(CALL_S + ITEM_S * len(batch.attempts))
        self._at(self.now, partial(self._reach_provider, batch))

    def _take_result(self, batch: Batch) -> None:
        number = len(batch.attempts)
        self._spend(RESULT_S + ITEM_S * number)
        self.calls.append((self.now, number))
        size, calls = (batch.item_count, batch.tokens), batch.calls_at_once
        call_s = self.now - self._called_at.pop(batch)
        self.deployment.durations.learn(*size, call_s)
        self.deployment.unslowed_calls.learn(calls, *size, call_s, self.now)
        for one in batch.attempts:
            self.queue.finish_attempt(one, number)
            self._callbacks.append(partial(self._answer, one))
        following = self.queue.finish(batch, self.now)
        if following is not None:
            self._call(following)

    def _answer(self, one: Attempt) -> None:
        self._spend(ANSWER_S)
        self._at(self.now, partial(self._reach_client, one))

    # Outside

    def _at(self, when: float, do: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), do))

    def _arrive(self) -> None:
        self._ready.append(partial(self._read, max(self.now, self._client_at)))

    def _reach_client(self, one: Attempt) -> None:
        self._client_at = max(self._client_at, self.now) + CLIENT_S
        self.answers.append((self._client_at, self._client_at - one.arrived_at))
        self._at(self._client_at, self._arrive)

    def _reach_provider(self, batch: Batch) -> None:
        if self._at_work >= self.at_once:
            self._queued.append(batch)
            return
        self._at_work += 1
        self._at(self.now + self.seconds, partial(self._leave_provider, batch))

    def _leave_provider(self, batch: Batch) -> None:
        self._at_work -= 1
        self._ready.append(partial(self._take_result, batch))
        if self._queued:
            self._reach_provider(self._queued.popleft())
