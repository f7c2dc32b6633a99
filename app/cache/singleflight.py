"""Single flight: an item that is being embedded for one request is not sent again for another.

A request claims the items that it misses. Items that no load embeds yet become a `Load` of this
request; it waits for the loads of the other items. A load publishes item by item, to the cache and
to all waiters, so that a request for one text never waits for the whole of another request.

A load has no thread of its own: the callers that wait for its items drive its job (see
`app.cache.fetch`), and it ends when the last of them leaves. When a load fails, its published items
stay valid; its waiters claim the other items again, and after a second failure each embeds them in
a load that it does not share.
A request that joins a load has its items started first. Once the owner has left, the job embeds no
more than the remaining waiters miss; the rest is embedded by the next request that claims it.
(Source of the idea: golang.org/x/sync/singleflight.)

It covers one process only: `app.cache.shared` says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from app.cache.fetch import Collected, Fetch
from app.cache.load import Embedding, Job, Load, Published, Purchase, Waiter
from app.concurrency.locks import Wakeup, uncontended_lock
from app.concurrency.peer import never_left
from app.domain import NO_FLOW, Entry, Flow, Source, Vectors
from app.errors import ClientError, DeadlineExceeded


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
        embedding: Embedding,
        has_client_left: Callable[[], bool] = never_left,
    ) -> Collected:
        """Return the entries of distinct keys.

        Raises the `ClientError` of the request's own load, `DeadlineExceeded`, which names the
        ``timeout``, or `ClientClosedRequest`. The error holds the attempts and purchases until
        then.
        """
        fetch = Fetch(self, embedding, deadline, timeout, has_client_left)
        try:
            fetch.run(keys)
        except ClientError as error:
            error.attempts, error.purchases = fetch.collected.attempts, fetch.collected.purchases
            raise
        return fetch.collected

    def claim(
        self, keys: Sequence[bytes], deadline: float, wakeup: Wakeup, flow: Flow = NO_FLOW
    ) -> list[Waiter]:
        """Join the loads under way of these keys, and make one load of the other keys, if any.

        Returns a waiter for each load. The caller must give the new load, which is the last, a job;
        and every waiter must `leave`.
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
            waiters = []
            for load, wanted in joined.values():
                waiters.append(load.add_waiter(wakeup, wanted, flow, deadline))
                load.deadline = max(load.deadline, deadline)
            if own:
                waiters.append(self.make_unshared(own, deadline, wakeup, flow))
                self._loads.update(dict.fromkeys(own, waiters[-1].load))
        try:
            for waiter in waiters:
                if not waiter.is_owner:
                    waiter.load.start_first(waiter)
        except BaseException as error:
            self._give_up(waiters, error)
            raise
        return waiters

    def _give_up(self, waiters: Sequence[Waiter], error: BaseException) -> None:
        """Leave loads after a bug, and end the new one: no other request must wait for it."""
        for waiter in waiters:
            if waiter.is_owner:
                self.end(waiter.load, error)
            self.leave(waiter, Collected(), time.monotonic())

    @staticmethod
    def make_unshared(
        keys: Sequence[bytes], deadline: float, wakeup: Wakeup, flow: Flow = NO_FLOW
    ) -> Waiter:
        """Make a load that no other request can join; return its owner."""
        load = Load(keys, deadline, flow)
        load.owner = load.add_waiter(wakeup, keys, flow, deadline)
        return load.owner

    def publish(
        self,
        load: Load,
        start: int,
        stop: int,
        vectors: Vectors,
        source: Source,
        embedding: Embedding,
    ) -> None:
        """Publish and store the vectors of some items of a load, and wake their waiters.

        They are published before they are stored, so that a waiter that leaves meanwhile pays for
        them; and stored before the claim ends, so that no request misses them in between. Those
        that the job accepted just before the last waiter left are charged to a later request.
        """
        keys = load.keys[start:stop]
        rows = zip(keys, vectors.rows, vectors.tokens, strict=True)
        entries = [(key, Entry(row, tokens)) for key, row, tokens in rows]
        embedding.verify(entries)
        with self._lock:
            for key, entry in entries:
                load.published[key] = Published(entry, source, vectors.estimated)
            has_waiters = bool(load.waiters)
            if has_waiters:
                load.unpaid.append(Purchase(keys, source, sum(vectors.tokens)))
        if not has_waiters:
            embedding.charge_later(source, sum(vectors.tokens))
        embedding.store(entries)
        with self._lock:
            self._release(load, keys)
            done = []
            for waiter in load.waiters:
                waiter.missing.difference_update(keys)
                if not waiter.missing:
                    done.append(waiter)
        for waiter in done:
            waiter.wakeup.set()

    def end(self, load: Load, error: BaseException | None) -> None:
        """End a load: no more of its items will be published."""
        with self._lock:
            if load.is_over:
                return
            load.is_over, load.error = True, error
            self._release(load, load.keys)
        load.wake()

    def leave(self, waiter: Waiter, into: Collected, now: float) -> None:
        """A waiter takes what has come for it, and waits no longer; the last one ends the load.

        See `Load.take_unpaid` for what it pays.
        """
        load = waiter.load
        with self._lock:
            into.take(waiter)
            load.waiters.remove(waiter)
            into.pay(load.take_unpaid(waiter))
            if waiter.is_owner:
                load.owner = None
            is_last = not load.waiters
            job = load.job
            if is_last:
                load.job = None  # the job refers to the load: a cycle for the garbage collector
        if not is_last:
            if waiter.missing and load.owner is None and job is not None:
                self._stop_unwanted(load, job, now)
            load.wake()  # another waiter must drive the job now
        elif not load.is_over:
            if job is not None:
                job.cancel(now)
            # No request sees this error: the last one that waited has left.
            self.end(load, DeadlineExceeded("No request waits for this any more."))

    def _stop_unwanted(self, load: Load, job: Job, now: float) -> None:
        """Stop the parts of a load that no waiter misses.

        The job decides which parts it can still stop, without this lock. A request that joins the
        load meanwhile must not wait for an item that is stopped then. So there are three steps.
        """
        # 1. Items that no waiter misses can no longer be joined.
        with self._lock:
            missed = load.missed()
            unwanted = [
                key for key in load.keys if key not in missed and self._loads.get(key) is load
            ]
            self._release(load, unwanted)
        # 2. The job stops what it can.
        ranges = job.keep_only(load.positions(missed), now)
        # 3. Items that it goes on embedding can be joined again. Two waiters may leave at once: the
        # other one may be at step 3 already, and have put items back that are stopped here.
        with self._lock:
            stopped = [key for start, stop in ranges for key in load.keys[start:stop]]
            load.stopped.update(stopped)
            self._release(load, stopped)
            for key in unwanted:
                if not (load.is_over or key in load.stopped or key in load.published):
                    self._loads.setdefault(key, load)

    def _release(self, load: Load, keys: Sequence[bytes]) -> None:
        for key in keys:
            if self._loads.get(key) is load:
                del self._loads[key]
