"""The virtual time of `app.cli.simulation.world`, with exceptions that a test raises on purpose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any, Self

from greenlet import getcurrent

from app.cli.simulation import world
from app.cli.simulation.world import LATE, Wait
from app.limits.leases import worker_leases

__all__ = ["DEADLY", "INJECTED", "LATE", "AbruptEnd", "Wait", "World"]
INJECTED = "injected"  # in the message of each exception that a simulation raises on purpose


class AbruptEnd(BaseException):
    """An exception that is no `Exception`, such as `gevent.Timeout`."""


#: Exceptions that end a thread; a keyboard interrupt or a test's timeout ends the simulation.
DEADLY = (*world.World.deadly, AbruptEnd)


class World(world.World):
    """Virtual time in which threads may fail to start, and exceptions may be no bugs."""

    deadly = DEADLY

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.may_start: Callable[[], bool] = lambda: True  # whether a thread can be started now

    def start_new_thread(self, function: Callable[..., Any], arguments: Any) -> None:
        """Do as `_thread.start_new_thread`, which fails if the system has no thread."""
        if not self.may_start():
            raise RuntimeError(f"can't start new thread ({INJECTED})")
        super().start_new_thread(function, arguments)

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Let leases of slots use this world, too."""
        real, names = (worker_leases.time, worker_leases.new_worker_name), count()
        worker_leases.time = SimpleNamespace(monotonic=lambda: self.now)
        worker_leases.new_worker_name = lambda: f"w{next(names)}"  # the same in each run
        try:
            with super().installed():
                yield self
        finally:
            worker_leases.time, worker_leases.new_worker_name = real

    def start_now(self, function: Callable[..., Any], arguments: Any) -> None:
        """Do as `app.concurrency.threads` under gevent: run a thread until it waits."""
        if not self.may_start():
            raise RuntimeError(f"can't start new thread ({INJECTED})")
        self.run_first(function, *arguments)

    def run_first(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in a thread of its own until it waits; then the calling one goes on."""
        self.at(self.now, getcurrent().switch)
        self.thread(function, *arguments).switch()

    def is_injected(self, error: BaseException) -> bool:
        """Return whether the simulation raised an error on purpose."""
        return INJECTED in str(error)
