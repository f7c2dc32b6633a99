"""Virtual time: the threads, locks and clock of dispatch, as a discrete-event simulation.

    with World(seed=1).installed() as world:
        world.spawn(somebody, arguments)
        world.run()

Threads are greenlets that run until they wait; then the clock jumps to the next event. So the real
code runs, all of it, hours of it in seconds, and a seed repeats it exactly. Events of one moment
come in random order, and who is woken comes to it a little late, as threads do.
"""

import _thread
import heapq
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from greenlet import getcurrent, greenlet

import app.pipeline  # noqa: F401 - loads every module that `_virtual_modules` looks for

LATE = 0.002  # seconds at most from being woken to running
#: Modules that live in virtual time: these, and all below them.
VIRTUAL = (
    "app.dispatch",
    "app.pipeline",
    "app.concurrency",
    "app.cache.fetch",
    "app.cache.singleflight",
)
CLOCKS = ("monotonic", "perf_counter", "time")
INJECTED = "injected"  # in the message of each exception that a simulation raises on purpose


class AbruptEnd(BaseException):
    """Stands for exceptions that are no `Exception`, such as `gevent.Timeout`."""


#: What a thread may die of; a keyboard interrupt or a test's timeout ends the simulation itself.
DEADLY = (Exception, SystemExit, AbruptEnd)


class Wait:
    """A greenlet that waits: woken once, by the first event."""

    __slots__ = ("_greenlet", "_woken", "_world")

    def __init__(self, world: "World") -> None:
        self._world, self._greenlet, self._woken = world, getcurrent(), False

    def wake(self, value: Any = True) -> None:
        if not self._woken:
            self._woken = True
            self._world.soon(partial(self._greenlet.switch, value))

    @property
    def is_over(self) -> bool:
        return self._woken


class Lock:
    """What `_thread.allocate_lock` gives, as far as a `Wakeup` uses it."""

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
        self.most_events = 10**8
        self.may_start: Callable[[], bool] = lambda: True  # whether a thread can be had now
        self._events: list[tuple[float, float, int, Callable[[], Any], Wait | None]] = []
        self._numbers = count()
        self._hub = getcurrent()

    def at(self, when: float, do: Callable[[], Any], wait: Wait | None = None) -> None:
        """Do something at a time; not where it is the end of a wait that is over by then."""
        event = (max(when, self.now), self.rng.random(), next(self._numbers), do, wait)
        heapq.heappush(self._events, event)

    def soon(self, do: Callable[[], Any]) -> None:
        self.at(self.now + self.rng.uniform(0, LATE), do)

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in a thread of its own."""

        def body() -> None:
            try:
                function(*arguments)
            except DEADLY as error:
                if INJECTED not in str(error):
                    self.wrong.append(f"a thread died of {error!r}")
            finally:
                self.threads -= 1

        self.threads += 1
        self.soon(greenlet(body, parent=self._hub).switch)

    def _start_new_thread(self, function: Callable[..., Any], arguments: Any) -> None:
        """As `_thread.start_new_thread`, which fails where the system has no thread to give."""
        if not self.may_start():
            raise RuntimeError(f"can't start new thread ({INJECTED})")
        self.spawn(function, *arguments)

    def pause(self, seconds: float, wait: Wait | None = None) -> bool:
        """Wait as a thread: True when woken, False when the time has passed."""
        wait = wait or Wait(self)
        if seconds < float("inf"):
            self.at(self.now + seconds, partial(wait.wake, False), wait)
        return self._hub.switch()

    def run(self, until: float = float("inf")) -> None:
        """Let happen what happens, up to a moment or to the end of all."""
        while self._events and self._events[0][0] <= until:
            when, _, number, do, wait = heapq.heappop(self._events)
            if wait is not None and wait.is_over:
                continue
            self.now = when
            if number > self.most_events:
                self.wrong.append(f"no end after {number} events")
                return
            do()
        if until < float("inf"):
            self.now = until

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Have dispatch live in this world."""
        clock = SimpleNamespace(**dict.fromkeys(CLOCKS, lambda: self.now))
        threads = SimpleNamespace(
            start_new_thread=self._start_new_thread,
            allocate_lock=lambda: Lock(self),
        )
        with ExitStack() as stack:
            for module in _virtual_modules():
                if getattr(module, "time", None) is time:
                    stack.enter_context(patch.object(module, "time", clock))
                if getattr(module, "_thread", None) is _thread:
                    stack.enter_context(patch.object(module, "_thread", threads))
            stack.enter_context(_bugs(self.wrong))
            yield self


def _virtual_modules() -> list[ModuleType]:
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name in VIRTUAL or name.startswith(tuple(f"{parent}." for parent in VIRTUAL))
    ]


def _is_injected(error: BaseException | None) -> bool:
    """Whether the simulation raised an error on purpose, or one that led to it."""
    while error is not None:
        if INJECTED in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _bugs(wrong: list[str]) -> Iterator[None]:
    """Note what dispatch logs as a bug of its own; say nothing of the rest."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and not _is_injected(record.exc_info[1]):
                wrong.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger = logging.getLogger("app.dispatch")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Handler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
