"""Virtual time: the threads, locks and clock of dispatch, as a discrete-event simulation.

    with World(seed=1).installed() as world:
        world.spawn(somebody, arguments)
        world.run()

Threads are greenlets that run until they wait; then the clock jumps to the next event. So the real
code runs, all of it, hours of it in seconds, and a seed repeats it exactly. Events of one moment
come in random order, and who is woken comes to it a little late, as threads do.
"""

import heapq
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from greenlet import getcurrent, greenlet

from app import deadline
from app.dispatch import dispatcher, flight

LATE = 0.002  # seconds at most from being woken to running


class Wait:
    """A greenlet that waits: woken once, by whoever comes first."""

    __slots__ = ("_greenlet", "_woken", "_world")

    def __init__(self, world: "World") -> None:
        self._world, self._greenlet, self._woken = world, getcurrent(), False

    def wake(self, value: Any = True) -> None:
        if not self._woken:
            self._woken = True
            self._world.soon(partial(self._greenlet.switch, value))


class Lock:
    """What `_thread.allocate_lock` gives, as far as a `Bell` uses it."""

    def __init__(self, world: "World") -> None:
        self._world, self._locked = world, False
        self._wait: Wait | None = None

    def acquire(self, timeout: float = float("inf")) -> bool:
        if not self._locked:
            self._locked = True
            return True
        self._wait = Wait(self._world)
        got = self._world.pause(timeout, self._wait)
        self._wait = None
        return got

    def release(self) -> None:
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        if self._wait is None:
            self._locked = False
        else:  # it stays locked, by the one who waits
            wait, self._wait = self._wait, None
            wait.wake()


class World:
    """The clock, the dice and everything that is going to happen."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.wrong: list[str] = []  # what must not happen and did
        self.threads = 0  # that have not come to their end
        self._events: list[tuple[float, float, int, Callable[[], Any]]] = []
        self._numbers = count()
        self._hub = getcurrent()

    def at(self, when: float, do: Callable[[], Any]) -> None:
        event = (max(when, self.now), self.rng.random(), next(self._numbers), do)
        heapq.heappush(self._events, event)

    def soon(self, do: Callable[[], Any]) -> None:
        self.at(self.now + self.rng.uniform(0, LATE), do)

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in a thread of its own."""

        def body() -> None:
            try:
                function(*arguments)
            except Exception as error:
                self.wrong.append(f"a thread died of {error!r}")
            finally:
                self.threads -= 1

        self.threads += 1
        self.soon(greenlet(body, parent=self._hub).switch)

    def pause(self, seconds: float, wait: Wait | None = None) -> bool:
        """Wait as a thread: True when woken, False when the time has passed."""
        wait = wait or Wait(self)
        if seconds < float("inf"):
            self.at(self.now + seconds, partial(wait.wake, False))
        return self._hub.switch()

    def run(self, until: float = float("inf")) -> None:
        """Let happen what happens, up to a moment or to the end of all."""
        while self._events and self._events[0][0] <= until:
            self.now, _, _, do = heapq.heappop(self._events)
            do()
        if until < float("inf"):
            self.now = until

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Have dispatch live in this world."""
        clock = SimpleNamespace(monotonic=lambda: self.now)
        threads = SimpleNamespace(
            start_new_thread=lambda function, arguments: self.spawn(function, *arguments),
            allocate_lock=lambda: Lock(self),
        )
        with ExitStack() as stack:
            for module in (deadline, dispatcher, flight):
                stack.enter_context(patch.object(module, "time", clock))
            for module in (dispatcher, flight):
                stack.enter_context(patch.object(module, "_thread", threads))
            stack.enter_context(_bugs(self.wrong))
            yield self


@contextmanager
def _bugs(wrong: list[str]) -> Iterator[None]:
    """Note what dispatch logs as a bug of its own; say nothing of the rest."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                wrong.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger = logging.getLogger("app.dispatch")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Handler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
