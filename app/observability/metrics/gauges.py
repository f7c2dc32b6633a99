"""What is looked up now and then instead of being counted: sizes, states, lags.

Each worker does so for itself every two seconds, and whenever it is the one that is scraped. A part
that has something to tell offers a method that costs little and names itself in `create_app`:
``gauges.cache("redis", shared.stats)``.
"""

from __future__ import annotations

import atexit
import logging
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.cache.memory import CacheStats
from app.concurrency.locks import uncontended_lock
from app.concurrency.periodic import PeriodicTask
from app.dispatch import Dispatcher
from app.observability.metrics import catalog
from app.observability.metrics.catalog import Metric
from app.observability.metrics.meter import Meter

if TYPE_CHECKING:
    from app.limits.memory import WindowsState
    from app.limits.soft_limits import SoftLimits
    from app.usage.ledger import LedgerState
    from app.usage.watch import Watch

_log = logging.getLogger("app.observability.metrics")
#: Seconds between two looks of a worker.
LOOK_INTERVAL_S = 2.0
#: Looks that the ledger's lag is told from: five hours of them.
MAX_LOOKS_REMEMBERED = 10_000
_STATES = ("ok", "resting", "ejected")


class _Lag:
    """How old the oldest row is that the ledger has not written: it tells only how many there are.

    Rows are written in the order in which they were recorded. What the ledger writes for workers
    that are gone counts as written, but was not recorded here: ``_foreign`` of them.
    """

    def __init__(self) -> None:
        #: When a look was, and how many rows were recorded by then.
        self._seen: deque[tuple[float, int]] = deque(maxlen=MAX_LOOKS_REMEMBERED)
        self._foreign = 0

    def at(self, now: float, state: LedgerState) -> float:
        """Seconds since the last look at which all was recorded that is written by now."""
        done = state.written + state.lost
        if not state.queued and not state.spooled_bytes:
            self._seen.clear()
            self._foreign = done - state.recorded
        self._seen.append((now, state.recorded))
        while len(self._seen) > 1 and self._seen[1][1] <= done - self._foreign:
            self._seen.popleft()
        return now - self._seen[0][0]


class Gauges:
    """Looks at parts of the process, and puts what it finds into metrics.

    The lock is held during a look; a look that would begin meanwhile is left out.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = uncontended_lock()
        self._looks: list[Callable[[], None]] = []
        self._failing: set[Callable[[], None]] = set()
        self._last: dict[tuple[Metric, tuple[str, ...]], float] = {}
        meter.set(catalog.WORKERS, 1)
        meter.add(catalog.STARTS, 1)

    def cache(self, level: str, stats: Callable[[], CacheStats]) -> None:
        """Look at a level of the cache."""

        def look() -> None:
            now = stats()
            self._count(catalog.CACHE_HITS, now.hits, level)
            self._count(catalog.CACHE_MISSES, now.misses, level)
            self._count(catalog.CACHE_EVICTIONS, now.evictions, level)
            if now.bytes is not None:
                self._show(catalog.CACHE_BYTES, now.bytes, level)
            if now.entries is not None:
                self._show(catalog.CACHE_ENTRIES, now.entries, level)
            if (shared := now.shared) is not None:
                self._count(catalog.CACHE_LOST, shared.lost, level)
                self._count(catalog.CACHE_SPOILED, shared.spoiled, level)
                self._count(catalog.CACHE_WRITTEN, shared.written, level)
                self._count(catalog.CACHE_DROPPED, shared.dropped, level)
                self._show(catalog.CACHE_DOWN, shared.away, level)

        self._looks.append(look)

    def limits(self, state_of: Callable[[], WindowsState | None]) -> None:
        """Look at the limits' server, where there is one."""

        def look() -> None:
            if (state := state_of()) is not None:
                self._count(catalog.LIMITS_UNCHECKED, state.unchecked)
                self._count(catalog.LIMITS_DROPPED, state.dropped)
                self._show(catalog.LIMITS_DOWN, state.away)

        self._looks.append(look)

    def soft_limits(self, soft_limits: SoftLimits) -> None:
        """Look at soft limits that were reached, and at the notifications of them."""

        def look() -> None:
            for labels, number in soft_limits.reached.items():
                self._count(catalog.SOFT_LIMITS, number, *labels)
            if (state := soft_limits.notified()) is not None:
                for result, number in state._asdict().items():
                    self._count(catalog.NOTIFICATIONS, number, result)

        self._looks.append(look)

    def watch(self, watch: Watch) -> None:
        """Look at who asks: refused, failing, unusual."""

        def look() -> None:
            # Copied at once: others go on counting.
            for (key, result), number in list(watch.requests.items()):
                self._count(catalog.KEY_REQUESTS, number, key, result)
            for who, number in watch.unusual.items():
                self._show(catalog.UNUSUAL, number, who)

        self._looks.append(look)

    def ledger(self, state_of: Callable[[], LedgerState]) -> None:
        """Look at the ledger."""
        lag = _Lag()

        def look() -> None:
            state = state_of()
            self._show(catalog.LEDGER_LAG, lag.at(time.monotonic(), state))
            self._count(catalog.LEDGER_RECORDED, state.recorded)
            self._count(catalog.LEDGER_WRITTEN, state.written)
            self._count(catalog.LEDGER_LOST, state.lost)
            self._show(catalog.LEDGER_QUEUED, state.queued)
            self._show(catalog.LEDGER_SPOOLED, state.spooled_bytes)
            self._show(catalog.LEDGER_DOWN, not state.database_up)

        self._looks.append(look)

    def dispatch(self, dispatcher: Dispatcher) -> None:
        """Look at the providers."""

        def look() -> None:
            now = time.monotonic()
            states: Counter[tuple[str, str, str]] = Counter()
            calls: Counter[str] = Counter()
            for model, deployment in dispatcher.deployments():
                place = (model, deployment.name)
                states.update({(*place, state): 0 for state in _STATES})
                states[*place, deployment.standing.state(now)] += 1
                calls[deployment.name] += deployment.standing.in_flight
                self._show(catalog.WAITING, deployment.queue.waiting, deployment.name)
            for name, number in calls.items():
                self._show(catalog.CALLS_IN_FLIGHT, number, name)
            for labels, number in states.items():
                self._show(catalog.STATE, number, *labels)

        self._looks.append(look)

    def look(self) -> None:
        """Look at everything, once."""
        # Never waited for: what is looked at may switch greenlets, and this lock cannot.
        if not self._lock.acquire(blocking=False):
            return
        try:
            for look in self._looks:
                try:
                    look()
                except Exception:  # the others are looked at all the same; logged once an episode
                    if look not in self._failing:
                        _log.exception("a metric could not be looked up")
                    self._failing.add(look)
                else:
                    self._failing.discard(look)
        finally:
            self._lock.release()

    def keep_looking(self) -> None:
        """Look every two seconds, and at the end of the process; for as long as this is in use."""
        alive = weakref.ref(self)

        def look() -> None:
            gauges = alive()
            if gauges is None:
                task.stop()
            else:
                gauges.look()

        task = PeriodicTask("metrics-gauges", look, LOOK_INTERVAL_S)
        atexit.register(look)
        task.start()

    def _show(self, metric: Metric, value: float, *labels: str) -> None:
        if self._last.get((metric, labels)) != value:
            self._last[metric, labels] = value
            self._meter.set(metric, value, *labels)

    def _count(self, metric: Metric, value: float, *labels: str) -> None:
        more = value - self._last.get((metric, labels), 0)
        if more > 0 or (metric, labels) not in self._last:
            self._last[metric, labels] = value
            self._meter.add(metric, more, *labels)
