"""Single flight: an item that is being embedded is waited for, not sent again.

A request claims the items that it misses. What no request embeds yet becomes a `Load` of its own;
the rest is waited for. What comes is published item by item, to the cache and to all that wait for
it, so that a request for one text never waits for the whole of another request.

A load has no thread of its own: the callers that wait for its items drive it, and it ends when none
is left. One that fails keeps what it had published; its other items are claimed again by those that
wait for them, and on a further failure each caller embeds them for itself. (Source of the idea:
golang.org/x/sync/singleflight.)

The loads of one process only: `app.cache.shared` says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.concurrency.locks import uncontended_lock
from app.concurrency.wakeup import Wakeup
from app.domain import Entry, Source, Vectors
from app.errors import ClientError, DeadlineExceeded

#: How often items are claimed together with other requests' items, before a caller goes alone.
_SHARED_CLAIMS = 2


class Job(Protocol):
    """What embeds the items of a load: see `app.dispatch.job.Job`."""

    error: BaseException | None

    @property
    def is_settled(self) -> bool: ...

    @property
    def attempts(self) -> int: ...

    @property
    def upstream_seconds(self) -> float: ...

    def extend(self, deadline: float) -> None: ...

    def advance(self, now: float) -> float: ...

    def cancel(self, now: float) -> None: ...


OnPart = Callable[[int, int, Vectors, Source], None]
#: (keys, deadline, wake, on_part) → a job for the items of these keys. Raises `ClientError`.
StartJob = Callable[[Sequence[bytes], float, Callable[[], None], OnPart], Job]
#: Checks entries and puts them into the cache.
Store = Callable[[Sequence[tuple[bytes, Entry]]], None]


@dataclass(slots=True)
class _Published:
    """An item of a load that has its vector."""

    entry: Entry
    source: Source
    is_estimated: bool
    is_paid: bool = False  # counted as bought by a request


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits for some items of a load."""

    wakeup: Wakeup
    wanted: Sequence[bytes]
    missing: set[bytes]  # those of them that are not published


@dataclass(slots=True, eq=False)
class Load:
    """Items that are embedded together. `SingleFlight`'s lock guards all fields."""

    keys: Sequence[bytes]
    owner: _Waiter
    deadline: float
    job: Job | None = None
    waiters: list[_Waiter] = field(default_factory=list)
    published: dict[bytes, _Published] = field(default_factory=dict)
    is_over: bool = False
    error: BaseException | None = None

    def wake(self) -> None:
        for waiter in list(self.waiters):
            waiter.wakeup.set()


@dataclass(slots=True)
class Collected:
    """What one request got from loads: its entries, and how they came."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    sources: dict[bytes, Source] = field(default_factory=dict)
    purchases: dict[Source, int] = field(default_factory=dict)  # tokens
    attempts: int = 0  # calls made for this request
    upstream_seconds: float = 0.0
    is_estimated: bool = False

    def pay(self, load: Load) -> None:
        """Count what a load has published, and no request has paid for, as bought by this one."""
        for published in load.published.values():
            if not published.is_paid:
                published.is_paid = True
                tokens = self.purchases.get(published.source, 0) + published.entry.tokens
                self.purchases[published.source] = tokens


class SingleFlight:
    """The loads under way. The lock guards ``_loads`` and the loads; nothing waits under it."""

    def __init__(self) -> None:
        self._loads: dict[bytes, Load] = {}
        self._lock = uncontended_lock()

    def fetch(
        self,
        keys: Sequence[bytes],
        deadline: float,
        timeout: float,
        start: StartJob,
        store: Store,
    ) -> Collected:
        """The entries of distinct keys. Raises the `ClientError` that its own load ended with, or
        `DeadlineExceeded`, which names the ``timeout``; with what was bought until then."""
        collected = Collected()
        error: ClientError | None = None
        claims = 0
        while missing := [key for key in keys if key not in collected.entries]:
            claims += 1
            flight = _Flight(self, collected, deadline, timeout, claims <= _SHARED_CLAIMS)
            error = flight.run(missing, start, store)
            if error is not None:
                error.attempts = collected.attempts
                error.purchases = collected.purchases
                raise error
        return collected

    def claim(self, keys: Sequence[bytes], deadline: float, wakeup: Wakeup) -> list[Load]:
        """Join the loads of keys under way; a load of the others is the last one, if there is any.

        Its owner must give it a job, and every waiter must `leave`.
        """
        with self._lock:
            joined: dict[int, tuple[Load, list[bytes]]] = {}
            own = []
            for key in keys:
                load = self._loads.get(key)
                if load is None:
                    own.append(key)
                else:
                    joined.setdefault(id(load), (load, []))[1].append(key)
            loads = []
            for load, wanted in joined.values():
                load.waiters.append(_Waiter(wakeup, wanted, set(wanted)))
                load.deadline = max(load.deadline, deadline)
                loads.append(load)
            if own:
                loads.append(self._make(own, deadline, wakeup))
                self._loads.update(dict.fromkeys(own, loads[-1]))
        for load in loads:
            if load.job is not None:
                load.job.extend(deadline)
        return loads

    def make_alone(self, keys: Sequence[bytes], deadline: float, wakeup: Wakeup) -> Load:
        """A load that no other request can join."""
        return self._make(keys, deadline, wakeup)

    @staticmethod
    def _make(keys: Sequence[bytes], deadline: float, wakeup: Wakeup) -> Load:
        owner = _Waiter(wakeup, keys, set(keys))
        return Load(keys, owner, deadline, waiters=[owner])

    def publish(
        self, load: Load, start: int, stop: int, vectors: Vectors, source: Source, store: Store
    ) -> None:
        """Some items of a load have their vectors: keep them, and wake those that wait for them."""
        keys = load.keys[start:stop]
        rows = zip(keys, vectors.rows, vectors.tokens, strict=True)
        entries = [(key, Entry(row, tokens)) for key, row, tokens in rows]
        store(entries)  # before they are no longer claimed: there is no moment between
        with self._lock:
            for key, entry in entries:
                load.published[key] = _Published(entry, source, vectors.estimated)
            self._release(load, keys)
            done = []
            for waiter in load.waiters:
                waiter.missing.difference_update(keys)
                if not waiter.missing:
                    done.append(waiter)
        for waiter in done:
            waiter.wakeup.set()

    def end(self, load: Load, error: BaseException | None) -> None:
        """No more items of a load will be published."""
        with self._lock:
            if load.is_over:
                return
            load.is_over, load.error = True, error
            self._release(load, load.keys)
        load.wake()

    def leave(self, load: Load, wakeup: Wakeup, into: Collected, now: float) -> None:
        """A waiter takes what has come for it, and waits no longer; the last one ends the load.

        The owner pays for all that was published. Once it has left, the next one that leaves does:
        it has kept the load going.
        """
        with self._lock:
            waiter = next(w for w in load.waiters if w.wakeup is wakeup)
            for key in waiter.wanted:
                published = load.published.get(key)
                if published is not None:
                    into.entries[key] = published.entry
                    into.sources[key] = published.source
                    into.is_estimated |= published.is_estimated
            if load.owner not in load.waiters or waiter is load.owner:
                into.pay(load)
            load.waiters.remove(waiter)
            is_last = not load.waiters and not load.is_over
        if is_last:
            if load.job is not None:
                load.job.cancel(now)
            self.end(load, DeadlineExceeded("No request waits for this any more."))
        else:
            load.wake()  # another must watch its time now

    def _release(self, load: Load, keys: Sequence[bytes]) -> None:
        for key in keys:
            if self._loads.get(key) is load:
                del self._loads[key]


class _Flight:
    """One claim of one request: it waits for the loads, and drives them meanwhile."""

    def __init__(
        self,
        flights: SingleFlight,
        collected: Collected,
        deadline: float,
        timeout: float,
        is_shared: bool,
    ) -> None:
        self._flights = flights
        self._collected = collected
        self._deadline = deadline
        self._timeout = timeout
        self._is_shared = is_shared
        self._wakeup = Wakeup()

    def run(self, keys: Sequence[bytes], start: StartJob, store: Store) -> ClientError | None:
        """Wait until all keys have come or their loads are over; the error to tell the caller."""
        if self._is_shared:
            loads = self._flights.claim(keys, self._deadline, self._wakeup)
        else:
            loads = [self._flights.make_alone(keys, self._deadline, self._wakeup)]
        own = loads[-1] if loads[-1].owner.wakeup is self._wakeup else None
        try:
            if own is not None:
                self._start(own, start, store)
            in_time = self._wait(loads)
        finally:
            self._leave_all(loads, own)
        if not in_time:
            return DeadlineExceeded(f"Request timed out after {self._timeout} s.")
        if own is None or all(key in self._collected.entries for key in own.keys):
            return None  # whatever ended it after its last item: that may be this very leave
        if isinstance(own.error, ClientError):
            return own.error
        if own.error is not None:
            raise own.error
        return None

    def _start(self, own: Load, start: StartJob, store: Store) -> None:
        flights = self._flights

        def on_part(begin: int, stop: int, vectors: Vectors, source: Source) -> None:
            flights.publish(own, begin, stop, vectors, source, store)

        def wake() -> None:
            job = own.job
            if job is not None and job.is_settled:
                flights.end(own, job.error)
            else:
                own.wake()

        try:
            own.job = job = start(own.keys, own.deadline, wake, on_part)
            job.extend(own.deadline)  # a request may have joined meanwhile
            own.wake()  # and waits without a time of its own
        except BaseException as error:
            flights.end(own, error)
            if not isinstance(error, ClientError):
                raise

    def _wait(self, loads: Sequence[Load]) -> bool:
        """Drive the loads until each has come as far as this request needs; False if too late."""
        while True:
            now = time.monotonic()
            wake_at = self._deadline
            is_done = True
            for load in loads:
                if load.is_over or self._has_all(load):
                    continue
                is_done = False
                if load.job is not None:
                    wake_at = min(wake_at, load.job.advance(now))
            if is_done:
                return True
            if now >= self._deadline:
                return False
            self._wakeup.wait(wake_at - time.monotonic())

    def _has_all(self, load: Load) -> bool:
        return not next(w for w in load.waiters if w.wakeup is self._wakeup).missing

    def _leave_all(self, loads: Sequence[Load], own: Load | None) -> None:
        now = time.monotonic()
        for load in loads:
            self._flights.leave(load, self._wakeup, self._collected, now)
            if load.job is not None:
                took = load.job.upstream_seconds
                self._collected.upstream_seconds = max(self._collected.upstream_seconds, took)
        if own is not None and own.job is not None:
            self._collected.attempts += own.job.attempts
