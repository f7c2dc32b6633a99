"""`Live`: observes the requests of this worker, and answers for all workers."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.concurrency.periodic import PeriodicTask
from app.limits.periods import Calendar
from app.limits.pricing import Prices
from app.observability.live import reloads
from app.observability.live.counted import Counted, add_up
from app.observability.live.figures import Figures, Mark
from app.observability.live.history import History
from app.observability.live.lists import ROW, Show, choose
from app.observability.live.ring import BUCKET_S, BUCKETS
from app.observability.live.steps import describe, row_of
from app.observability.live.stories import Stories, story_of
from app.observability.live.summary import since_of, summarize
from app.observability.live.workers import Workers

if TYPE_CHECKING:
    from app.dispatch import Dispatcher
    from app.exchange import Exchange

_log = logging.getLogger("app.observability.live")
#: Flask's endpoint of all paths for embeddings.
_EMBEDDINGS_ROUTE = "api.embeddings"
SAMPLE_INTERVAL_S = 1.0
MAX_STORIES_OF_ONE_ID = 20


class Live:
    """Figures and stories of this worker, as an `app.exchange.Observer`, and those of all workers.

    ``directory`` is shared by the workers of the server; None: this process is the only one.
    ``dispatcher`` is set before `start`.
    """

    def __init__(
        self,
        prices: Prices,
        day: Calendar,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.figures = Figures(day, clock)
        self.stories = Stories()
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

    def finished(self, exchange: Exchange, status: int) -> None:
        if exchange.route != _EMBEDDINGS_ROUTE:
            return
        cost, purchases = 0, exchange.purchases
        if purchases and exchange.request is not None:
            cost = self._prices.cost_of(exchange.request.model, purchases)
        story = story_of(exchange, status, exchange.seconds, cost, self._clock())
        self.figures.count(story)
        self.stories.keep(story, exchange.caller is not None)

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
        """Record the lengths of queues."""
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
        """Return the stories of the requests with an id, of all workers, newest first.

        ``key`` None: of any key, for administrators.
        """
        asked = self._workers.ask({"ask": "story", "id": request_id})
        answers = asked.by_worker.items()
        found = [{**story, "worker": pid} for pid, stories in answers for story in stories]
        found += [
            {**story, "worker": None}
            for story in self._history.stories()
            if story["id"] == request_id
        ]
        found = [story for story in found if key is None or story["key"] == key]
        found.sort(key=lambda story: -story["started_at"])
        return {
            "workers": {"answered": sorted(asked.by_worker), "silent": sorted(asked.silent)},
            "data": found[:MAX_STORIES_OF_ONE_ID],
        }

    def last(self, show: Show, key: str | None) -> dict[str, Any]:
        """Return rows of the requests to show, of all workers; ``key`` as in `find`."""
        asked = self._workers.ask({"ask": "stories", "show": show, "key": key})
        rows = [row for found in asked.by_worker.values() for row in found]
        rows += [{name: story[name] for name in ROW} for story in self._history.stories()]
        return {
            "workers": {"answered": sorted(asked.by_worker), "silent": sorted(asked.silent)},
            "data": choose(rows, show, key),
        }

    # Of this worker

    def _answer(self, question: dict[str, Any]) -> Any:
        """Answer the question of a worker."""
        if question["ask"] == "story":
            return [describe(story) for story in self.stories.find(question["id"])]
        if question["ask"] == "stories":
            rows = [row_of(story) for story in self.stories.all()]
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
        """Leave figures and stories of this worker to the others."""
        stop = int(self._clock() // BUCKET_S) + 1
        own = self._counted(0.0)._replace(waiting={})

        def merged(ended: Counted | None) -> Counted:
            return add_up([own] if ended is None else [ended, own], stop - BUCKETS, stop)

        self._history.add(merged, [describe(story) for story in self.stories.all()])
