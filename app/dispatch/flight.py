"""Single flight: an item that is being embedded is waited for, not sent again.

Callers claim the items they miss. What nobody embeds yet becomes a `Load` of theirs; for the rest
they wait on the loads of others. A load runs by itself: a caller who leaves never ends what others
wait for, and who joins late extends it. When a load fails everyone wakes and claims again, once.

The loads of one process only: `app.cache.shared` says why.
"""

from __future__ import annotations

import _thread
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.dispatch.dispatcher import Bell
from app.dispatch.job import Job
from app.domain import Entry, Outcome
from app.errors import ClientError, DeadlineExceeded
from app.mutex import mutex

_log = logging.getLogger("app.dispatch")


@dataclass(slots=True, eq=False)
class Load:
    """Keys being embedded together. `Flights`' lock guards ``waiting`` and ``done``."""

    keys: list[bytes]
    job: Job | None = None
    deadline: float = 0.0
    entries: dict[bytes, Entry] = field(default_factory=dict)
    outcome: Outcome | None = None
    error: BaseException | None = None
    done: bool = False
    waiting: list[Bell] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller has to wait for: its own load, if any, and those of others."""

    own: Load | None
    others: list[Load]

    @property
    def loads(self) -> list[Load]:
        return [*([self.own] if self.own else []), *self.others]


class Flights:
    """The loads under way. The lock guards ``_loads`` and the loads; nothing waits under it."""

    def __init__(self, start_thread: Callable[..., object] | None = None) -> None:
        self._loads: dict[bytes, Load] = {}
        self._lock = mutex()
        self._start_thread = start_thread or _thread.start_new_thread

    def claim(self, keys: Sequence[bytes], deadline: float, bell: Bell) -> Claim:
        """Join the loads of keys under way and begin one for the others.

        ``bell`` rings when one of them ends. The own load must be `run`.
        """
        with self._lock:
            others = {id(load): load for key in keys if (load := self._loads.get(key))}
            new = [key for key in dict.fromkeys(keys) if key not in self._loads]
            own = Load(new, deadline=deadline, waiting=[bell]) if new else None
            for key in new:
                self._loads[key] = own  # type: ignore[assignment]  # there is one where keys are
            joined = list(others.values())
            for load in joined:
                load.waiting.append(bell)
                load.deadline = max(load.deadline, deadline)
        for load in joined:
            if load.job is not None:
                load.job.extend(deadline)
        return Claim(own, joined)

    def run(
        self,
        load: Load,
        start: Callable[[float, Bell], Job],
        store: Callable[[dict[bytes, Entry]], None],
    ) -> None:
        """Embed a load in a thread of its own; ``store`` gets what came before anyone wakes."""
        self._start_thread(self._run, (load, start, store))

    def _run(
        self,
        load: Load,
        start: Callable[[float, Bell], Job],
        store: Callable[[dict[bytes, Entry]], None],
    ) -> None:
        try:
            bell = Bell()
            load.job = job = start(load.deadline, bell)
            job.extend(load.deadline)  # somebody may have joined meanwhile
            wake_at = job.advance(time.monotonic())
            while not job.finished:
                bell.wait(wake_at - time.monotonic())
                wake_at = job.advance(time.monotonic())
            load.outcome = outcome = job.outcome()
            rows, tokens = outcome.vectors.rows, outcome.vectors.tokens
            load.entries = {
                key: Entry(row, count)
                for key, row, count in zip(load.keys, rows, tokens, strict=True)
            }
            store(load.entries)
        except ClientError as error:
            load.error = error
        except BaseException as error:
            _log.exception("a load failed by a bug")
            load.error = error
        finally:
            with self._lock:
                for key in load.keys:
                    del self._loads[key]
                load.done = True
                waiting, load.waiting = load.waiting, []
            for waiter in waiting:
                waiter.ring()


def wait_for(claim: Claim, deadline: float, bell: Bell, timeout: float) -> None:
    """Until all loads of a claim are done; `DeadlineExceeded` (which names the ``timeout``)."""
    while not all(load.done for load in claim.loads):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded(f"Request timed out after {timeout} s.")
        bell.wait(remaining)
