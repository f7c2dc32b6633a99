"""`Live`: observes the requests of this worker, and answers for all workers."""

from __future__ import annotations

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.concurrency.locks import uncontended_lock
from app.concurrency.periodic import PeriodicTask
from app.limits.periods import Calendar
from app.limits.pricing import Prices
from app.observability.live import reloads
from app.observability.live.counted import Counted, add_up
from app.observability.live.figures import Figures, Mark
from app.observability.live.history import History
from app.observability.live.lists import ROW, Show, choose
from app.observability.live.recent_requests import RecentRequest, RecentRequests
from app.observability.live.ring import BUCKET_S, BUCKETS
from app.observability.live.steps import describe, row_of
from app.observability.live.summary import since_of, summarize
from app.observability.live.workers import Workers
from app.observability.request_record import RequestRecord
from app.observability.sides import side_of

if TYPE_CHECKING:
    from app.dispatch import Dispatcher
    from app.exchange import Exchange

_log = logging.getLogger("app.observability.live")
SAMPLE_INTERVAL_S = 1.0
#: Finished requests that wait to be added to the figures and to the last requests.
MAX_PENDING = 100
MAX_REQUESTS_OF_ONE_ID = 20


class Live:
    """Figures and last requests of this worker, and those of all workers.

    A finished request is pending at first, which costs least, and is added to both once a second,
    and before they are read; the lock keeps that in order. ``directory`` is shared by the workers
    of the server; None: this process is the only one. ``dispatcher`` is set before `start`.
    """

    def __init__(
        self,
        prices: Prices,
        day: Calendar,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.figures = Figures(day, clock)
        self.requests = RecentRequests()
        self._pending: deque[RecentRequest] = deque()
        self._lock = uncontended_lock()
        self.dispatcher: Dispatcher | None = None
        self._prices = prices
        self._clock = clock
        self._workers = Workers(directory, self._answer)
        self._history = History(directory)
        self._sampler = PeriodicTask("live-sampler", self._sample_of_live(), SAMPLE_INTERVAL_S)
        weakref.finalize(self, self._sampler.stop)
        reloaded_at = reloads.last()
        if reloaded_at is not None:
            self.figures.mark(Mark(reloaded_at, "reloaded"))

    # On a request's way

    def keep(self, exchange: Exchange, record: RequestRecord) -> None:
        """Keep a finished request for embeddings. Nothing is locked here: it is pending."""
        if not exchange.asks_for_embeddings:
            return
        request, error, purchases = exchange.request, exchange.error, exchange.purchases
        # Plain tuples: a `CallRecord` of each would cost more, and is made when they are read.
        calls: Any = tuple(request.calls or ()) if request else ()
        self._pending.append(
            RecentRequest(
                record,
                self._clock(),
                None if error is None else side_of(error, exchange.admitted),
                self._prices.cost_of(request.model, purchases) if request and purchases else 0,
                exchange.started,
                exchange.admitted_at,
                calls,
            )
        )
        if len(self._pending) >= MAX_PENDING:
            self.fold()

    def fold(self) -> None:
        """Add the requests that are pending to the figures, and to those that are kept."""
        pending = self._pending
        with self._lock:
            requests = [pending.popleft() for _ in range(len(pending))]
            self.figures.add(requests)
            self.requests.add(requests)

    # In the process

    def start(self) -> None:
        """Answer the questions of other workers, and sample queues."""
        self._workers.start()
        self._sampler.start()

    def stop(self) -> None:
        """End both, and leave what was counted to the other workers."""
        self._sampler.stop()
        self._workers.stop()
        try:
            self._leave()
        except Exception:  # a bug must not keep other services from their end
            _log.exception("the figures of this worker are lost")

    def sample(self) -> None:
        """Add what is pending, and record the lengths of queues."""
        self.fold()
        if self.dispatcher is not None:
            self.figures.sample(self.dispatcher.waiting_by_tier())

    def _sample_of_live(self) -> Callable[[], None]:
        """Return `sample` without a reference to this object, so that the thread keeps no app."""
        alive = weakref.ref(self)

        def sample() -> None:
            live = alive()
            if live is not None:
                live.sample()

        return sample

    # For the console

    def now(self, since: float) -> dict[str, Any]:
        """Return the figures of all workers; series from ``since`` on, in seconds since 1970."""
        now = self._clock()
        asked = self._workers.ask({"ask": "now", "since": since_of(since, now)})
        answers = asked.by_worker.values()
        counted = [Counted.from_json(answer["counted"]) for answer in answers]
        if (ended := self._history.figures()) is not None:
            counted.append(ended.of_last_hour(now))
        return {
            "workers": {"answered": sorted(asked.by_worker), "silent": sorted(asked.silent)},
            **summarize(counted, since, now, [answer["deployments"] for answer in answers]),
        }

    def find(self, request_id: str, key: str | None) -> dict[str, Any]:
        """Return the requests with an id, of all workers, newest first.

        ``key`` None: of any key, for administrators.
        """
        asked = self._workers.ask({"ask": "request", "id": request_id})
        answers = asked.by_worker.items()
        found = [{**request, "worker": pid} for pid, requests in answers for request in requests]
        found += [
            {**request, "worker": None}
            for request in self._history.requests()
            if request["id"] == request_id
        ]
        found = [request for request in found if key is None or request["key"] == key]
        found.sort(key=lambda request: -request["started_at"])
        return {
            "workers": {"answered": sorted(asked.by_worker), "silent": sorted(asked.silent)},
            "data": found[:MAX_REQUESTS_OF_ONE_ID],
        }

    def last(self, show: Show, key: str | None) -> dict[str, Any]:
        """Return rows of the requests to show, of all workers; ``key`` as in `find`."""
        asked = self._workers.ask({"ask": "requests", "show": show, "key": key})
        rows = [row for found in asked.by_worker.values() for row in found]
        rows += [{name: request[name] for name in ROW} for request in self._history.requests()]
        return {
            "workers": {"answered": sorted(asked.by_worker), "silent": sorted(asked.silent)},
            "data": choose(rows, show, key),
        }

    # Of this worker

    def _answer(self, question: dict[str, Any]) -> Any:
        """Answer the question of a worker."""
        self.fold()
        if question["ask"] == "request":
            return [describe(request) for request in self.requests.find(question["id"])]
        if question["ask"] == "requests":
            rows = [row_of(request) for request in self.requests.all()]
            return choose(rows, question["show"], question["key"])
        counted = self._counted(question["since"])
        report = self.dispatcher.report() if self.dispatcher is not None else []
        return {"counted": counted.to_json(), "deployments": report}

    def _counted(self, since: float) -> Counted:
        figures = self.figures
        tiers = self.dispatcher.waiting_by_tier() if self.dispatcher is not None else {}
        waiting: dict[str, int] = {tier: number for tier, number in tiers.items() if number}
        window, totals = figures.read(since), figures.totals()
        return Counted(window, totals, figures.marks(), figures.spent_today(), waiting)

    def _leave(self) -> None:
        """Leave figures and requests of this worker to the others."""
        self.fold()
        stop = int(self._clock() // BUCKET_S) + 1
        own = self._counted(0.0)._replace(waiting={})

        def merged(ended: Counted | None) -> Counted:
            return add_up([own] if ended is None else [ended, own], stop - BUCKETS, stop)

        self._history.add(merged, [describe(request) for request in self.requests.all()])
