"""The requests of a load in virtual time: clients, arrivals, and the result of each request.

There are two kinds of callers. Those with ``clients`` have a closed loop: each client sends its
next request when it has the answer to its last. Those with ``per_second`` have an open one:
requests come at random times, whatever becomes of the earlier ones (Poisson).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.auth.authenticator import caller_of
from app.cli.simulation.load import CallerLoad
from app.cli.simulation.world import World
from app.config import Settings
from app.dispatch import Dispatcher
from app.domain import Caller, EmbeddingRequest, Flow, Outcome
from app.errors import ClientError
from app.limits.limiter import Limiter
from app.tokens.counting import BYTES_PER_TOKEN

#: Returns the flow of a caller's requests in the queues of providers.
FlowOf = Callable[[Caller, CallerLoad], Flow]
#: Seconds before a client sends a request again, where an error names none.
PAUSE_AFTER_ERROR_S = 1.0
#: Seconds in which all clients of a caller send their first request.
START_WITHIN_S = 0.5
_PREFIX_LENGTH = 4  # of a text: the number of its caller


@dataclass(slots=True)
class SimulatedWorker:
    """The objects of one simulated worker."""

    dispatcher: Dispatcher
    limiter: Limiter


@dataclass(slots=True)
class AnsweredRequest:
    """A request and its result: ``code`` is that of an error, ``queue_s`` None after one."""

    caller: int  # its number in the load
    arrived_at: float
    ended_at: float
    queue_s: float | None
    code: str | None


class Traffic:
    """Sends the requests of a load to workers until a time, and keeps their results."""

    def __init__(
        self,
        world: World,
        workers: Sequence[SimulatedWorker],
        settings: Settings,
        flow_of: FlowOf,
        seed: int,
    ) -> None:
        self.answered: list[AnsweredRequest] = []
        self._world = world
        self._workers = workers
        self._settings = settings
        self._flow_of = flow_of
        self._seed = seed

    def start(self, callers: Sequence[CallerLoad], until: float) -> None:
        """Schedule the requests of all callers."""
        for number, load in enumerate(callers):
            # Each has random numbers of its own: what it sends depends on no other caller.
            rng = random.Random(f"{self._seed} {number}")
            caller = caller_of(self._settings.keys[load.key])
            source = _Source(number, load, caller, self._flow_of(caller, load), rng)
            if load.per_second is not None:
                self._schedule_next(source, load.per_second, until)
            for client in range(load.clients or 0):
                worker = self._workers[client % len(self._workers)]
                at = self._world.now + rng.uniform(0, START_WITHIN_S)
                self._world.at(at, _spawning(self._world, self._loop, source, worker, until))

    def _schedule_next(self, source: _Source, per_second: float, until: float) -> None:
        """Schedule the next request of an open loop, which schedules the one after it."""
        at = self._world.now + source.rng.expovariate(per_second)

        def arrive() -> None:
            worker = source.rng.choice(self._workers)
            self._world.spawn(self._ask, source, source.request(), worker)
            self._schedule_next(source, per_second, until)

        if at < until:
            self._world.at(at, arrive)

    def _loop(self, source: _Source, worker: SimulatedWorker, until: float) -> None:
        """Send requests of a client, one after the other."""
        while self._world.now < until:
            error = self._ask(source, source.request(), worker)
            if error is not None:
                self._world.pause(error.retry_after or PAUSE_AFTER_ERROR_S)

    def _ask(
        self, source: _Source, request: EmbeddingRequest, worker: SimulatedWorker
    ) -> ClientError | None:
        """Send one request, and wait for its answer; return its error."""
        arrived_at, queue_s, failed = self._world.now, None, None
        try:
            queue_s = self._serve(source.caller, request, worker).queue_seconds
        except ClientError as error:
            failed = error
        code = None if failed is None else failed.code or str(failed.status)
        self.answered.append(
            AnsweredRequest(source.number, arrived_at, self._world.now, queue_s, code)
        )
        return failed

    def _serve(self, caller: Caller, request: EmbeddingRequest, worker: SimulatedWorker) -> Outcome:
        grant = worker.limiter.admit(caller, request)
        outcome: Outcome | None = None
        try:
            outcome = worker.dispatcher.embed(request, self._world.now + request.timeout)
            return outcome
        finally:
            if grant is not None:
                worker.limiter.settle(grant, outcome, outcome.purchases if outcome else {})


class _Source:
    """Makes the requests of one caller of the load."""

    def __init__(
        self, number: int, load: CallerLoad, caller: Caller, flow: Flow, rng: random.Random
    ) -> None:
        self.number, self.caller, self.rng = number, caller, rng
        self._load, self._flow = load, flow
        self._texts: dict[int, str] = {}  # by their tokens

    def request(self) -> EmbeddingRequest:
        load = self._load
        items = [self._text(self._tokens()) for _ in range(self.rng.randint(*load.texts))]
        return EmbeddingRequest(
            load.model, items, user=load.user, timeout=load.timeout, flow=self._flow
        )

    def _tokens(self) -> int:
        low, high = self._load.tokens
        return low if low == high else self.rng.randint(low, high)

    def _text(self, tokens: int) -> str:
        text = self._texts.get(tokens)
        if text is None:
            prefix = f"{self.number:0{_PREFIX_LENGTH}}"
            text = self._texts[tokens] = prefix.ljust(tokens * BYTES_PER_TOKEN, "x")
        return text


def caller_number(text: str) -> int:
    """Return the number of the caller that has sent a text."""
    return int(text[:_PREFIX_LENGTH])


def _spawning(
    world: World, function: Callable[..., object], *arguments: object
) -> Callable[[], None]:
    """Return a function that starts a thread."""
    return lambda: world.spawn(function, *arguments)
