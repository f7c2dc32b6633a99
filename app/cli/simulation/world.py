"""Virtual time: the threads, locks and clock of dispatch, as a discrete-event simulation.

    with World(seed=1).installed() as world:
        world.spawn(function, arguments)
        world.run()

Threads are greenlets that run until they wait; then the clock jumps to the next event. So the real
code runs, hours of it in seconds, and a seed repeats a run exactly. Events of the same time have a
random order, and a woken thread runs a little later, as real threads do.
"""

from __future__ import annotations

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

from greenlet import getcurrent, greenlet

import app.pipeline  # noqa: F401 - loads every module that `_virtual_modules` looks for

LATE = 0.002  # maximum seconds from wake-up to running, unless said otherwise
#: Modules that use virtual time: these, and all below them.
VIRTUAL = (
    "app.dispatch",
    "app.pipeline",
    "app.concurrency",
    "app.cache.fetch",
    "app.cache.singleflight",
)
CLOCKS = ("monotonic", "perf_counter", "time")


class Wait:
    """A waiting greenlet, woken once, by the first event."""

    __slots__ = ("_greenlet", "_woken", "_world")

    def __init__(self, world: World) -> None:
        self._world, self._greenlet, self._woken = world, getcurrent(), False

    def wake(self, value: Any = True) -> None:
        if not self._woken:
            self._woken = True
            self._world.soon(partial(self._greenlet.switch, value))

    @property
    def is_over(self) -> bool:
        return self._woken


class Lock:
    """A lock of `_thread.allocate_lock`, as far as a `Wakeup` uses it."""

    def __init__(self, world: World) -> None:
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
        else:  # it stays locked by the waiting thread
            wait, self._wait = self._wait, None
            wait.wake()


class World:
    """The clock, the random numbers and all future events."""

    #: Exceptions that end a thread; another, a keyboard interrupt for instance, ends `run`.
    deadly: tuple[type[BaseException], ...] = (Exception, SystemExit)

    def __init__(self, seed: int = 0, max_delay_s: float = LATE) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.wrong: list[str] = []  # violations
        self.threads = 0  # threads that have not ended
        self.most_events = 10**8
        self._events: list[tuple[float, float, int, Callable[[], Any], Wait | None]] = []
        self._max_delay_s = max_delay_s  # from wake-up to running
        self._numbers = count()
        self._hub = getcurrent()

    def at(self, when: float, do: Callable[[], Any], wait: Wait | None = None) -> None:
        """Schedule an event; the end of a wait that is over by then is skipped."""
        event = (max(when, self.now), self.rng.random(), next(self._numbers), do, wait)
        heapq.heappush(self._events, event)

    def soon(self, do: Callable[[], Any]) -> None:
        self.at(self.now + self.rng.uniform(0, self._max_delay_s), do)

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in a thread of its own."""
        self.soon(self.thread(function, *arguments).switch)

    def thread(self, function: Callable[..., Any], *arguments: Any) -> greenlet:
        """Return a thread that runs a function once it is switched to."""

        def body() -> None:
            try:
                function(*arguments)
            except self.deadly as error:
                if not self.is_injected(error):
                    self.wrong.append(f"a thread died of {error!r}")
            finally:
                self.threads -= 1

        self.threads += 1
        return greenlet(body, parent=self._hub)

    def start_new_thread(self, function: Callable[..., Any], arguments: Any) -> None:
        """Do as `_thread.start_new_thread`."""
        self.spawn(function, *arguments)

    def is_injected(self, error: BaseException) -> bool:
        """Return whether an exception was raised on purpose, and so shows no bug."""
        return False

    def pause(self, seconds: float, wait: Wait | None = None) -> bool:
        """Wait as a thread; return True when woken, False when the time has passed."""
        wait = wait or Wait(self)
        if seconds < float("inf"):
            self.at(self.now + seconds, partial(wait.wake, False), wait)
        return bool(self._hub.switch())

    def run(self, until: float = float("inf")) -> None:
        """Run events, up to a time or until there are none."""
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
        """Let dispatch use this world within the block."""
        clock = SimpleNamespace(**dict.fromkeys(CLOCKS, lambda: self.now))
        threads = SimpleNamespace(
            start_new_thread=self.start_new_thread,
            allocate_lock=lambda: Lock(self),
        )
        with ExitStack() as stack:
            for module in _virtual_modules():
                for name, real, virtual in (("time", time, clock), ("_thread", _thread, threads)):
                    if getattr(module, name, None) is real:
                        stack.callback(setattr, module, name, real)
                        setattr(module, name, virtual)
            stack.enter_context(_bugs(self))
            yield self


def _virtual_modules() -> list[ModuleType]:
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name in VIRTUAL or name.startswith(tuple(f"{parent}." for parent in VIRTUAL))
    ]


def _is_injected(world: World, error: BaseException | None) -> bool:
    """Return whether an exception, or a cause of it, was raised on purpose."""
    while error is not None:
        if world.is_injected(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _bugs(world: World) -> Iterator[None]:
    """Record lines that dispatch logs as a bug of its own; drop all others."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and not _is_injected(world, record.exc_info[1]):
                world.wrong.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger = logging.getLogger("app.dispatch")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Handler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
