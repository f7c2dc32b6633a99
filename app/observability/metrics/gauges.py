"""Reads sizes, states and lags of the process, and stores them as metrics.

Each worker does so every two seconds, and the worker that serves a scrape does so then too.
`create_app` registers the objects to read: ``gauges.cache("redis", shared.stats)``.
"""

from __future__ import annotations

import atexit
import logging
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app.cache.memory import CacheStats
from app.concurrency.locks import uncontended_lock
from app.concurrency.periodic import PeriodicTask
from app.concurrency.yielding import iterate_with_yields
from app.dispatch import Dispatcher
from app.observability.metrics import catalog
from app.observability.metrics.catalog import Metric
from app.observability.metrics.meter import Meter

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Agreement
    from app.dispatch.drift.checker import CheckOutcome
    from app.limits.counters.windows import WindowsState
    from app.limits.soft_limits import SoftLimits
    from app.usage.ledger.ledger import LedgerState
    from app.usage.reports.volume_alert import VolumeAlert

_log = logging.getLogger("app.observability.metrics")
#: Seconds between two readings of a worker.
LOOK_INTERVAL_S = 2.0
#: Readings kept for the ledger's lag: those of five hours.
MAX_LOOKS_REMEMBERED = 10_000
_STATES = ("ok", "resting", "ejected", "drifted")


class _Lag:
    """Computes the age of the oldest row that the ledger has not written, from numbers of rows.

    Rows are written in the order in which they were recorded. Rows of ended workers count as
    written, but were not recorded here: ``_foreign`` is their number.
    """

    def __init__(self) -> None:
        #: Time of a reading, and the number of rows recorded by then.
        self._seen: deque[tuple[float, int]] = deque(maxlen=MAX_LOOKS_REMEMBERED)
        self._foreign = 0

    def lag_s(self, now: float, state: LedgerState) -> float:
        """Return seconds since the last reading whose recorded rows are all written by now."""
        done = state.written + state.lost
        if not state.queued and not state.spooled_bytes:
            self._seen.clear()
            self._foreign = done - state.recorded
        self._seen.append((now, state.recorded))
        while len(self._seen) > 1 and self._seen[1][1] <= done - self._foreign:
            self._seen.popleft()
        return now - self._seen[0][0]


class Gauges:
    """Reads the registered objects, and stores their values in the meter.

    The lock is held during a reading; a second reading that would begin meanwhile is skipped.
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
        """Register a level of the cache."""

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
        """Register the server of the limits, if there is one."""

        def look() -> None:
            if (state := state_of()) is not None:
                self._count(catalog.LIMITS_UNCHECKED, state.unchecked)
                self._count(catalog.LIMITS_DROPPED, state.dropped)
                self._show(catalog.LIMITS_DOWN, state.away)

        self._looks.append(look)

    def soft_limits(self, soft_limits: SoftLimits) -> None:
        """Register the soft limits that were reached, and their notifications."""

        def look() -> None:
            for labels, number in soft_limits.reached.items():
                self._count(catalog.SOFT_LIMITS, number, *labels)
            if (state := soft_limits.notified()) is not None:
                for result, number in state._asdict().items():
                    self._count(catalog.NOTIFICATIONS, number, result)

        self._looks.append(look)

    def volume(self, alert: VolumeAlert) -> None:
        """Register the numbers of keys and end users with unusual volume."""

        def look() -> None:
            for who, number in alert.counts.items():
                self._show(catalog.UNUSUAL, number, who)

        self._looks.append(look)

    def ledger(self, state_of: Callable[[], LedgerState]) -> None:
        """Register the ledger."""
        lag = _Lag()

        def look() -> None:
            state = state_of()
            self._show(catalog.LEDGER_LAG, lag.lag_s(time.monotonic(), state))
            self._count(catalog.LEDGER_RECORDED, state.recorded)
            self._count(catalog.LEDGER_WRITTEN, state.written)
            self._count(catalog.LEDGER_LOST, state.lost)
            self._show(catalog.LEDGER_QUEUED, state.queued)
            self._show(catalog.LEDGER_SPOOLED, state.spooled_bytes)
            self._show(catalog.LEDGER_DOWN, not state.database_up)

        self._looks.append(look)

    def dispatch(self, dispatcher: Dispatcher) -> None:
        """Register the deployments."""

        def look() -> None:
            now = time.monotonic()
            states: Counter[tuple[str, str, str]] = Counter()
            calls: Counter[str] = Counter()
            for model, deployment in iterate_with_yields(dispatcher.deployments()):
                found, name = deployment.standing.state(now), deployment.provider_name
                states.update({(model, name, state): state == found for state in _STATES})
                calls[name] += deployment.standing.in_flight
                self._show(catalog.WAITING, deployment.queue.waiting, name)
                self._show(catalog.CONCURRENCY, deployment.queue.concurrency, name)
            self._look_at_agreements(dispatcher)
            for name, number in calls.items():
                self._show(catalog.CALLS_IN_FLIGHT, number, name)
            for labels, number in iterate_with_yields(states.items()):
                self._show(catalog.STATE, number, *labels)

        self._looks.append(look)

    def _look_at_agreements(self, dispatcher: Dispatcher) -> None:
        """Show the worst of the deployments that a model has at one provider."""
        found: dict[tuple[str, str], list[Agreement]] = {}
        for model, deployment in iterate_with_yields(dispatcher.deployments()):
            agreements = found.setdefault((model, deployment.provider_name), [])
            if deployment.agreement is not None:
                agreements.append(deployment.agreement)
        for place, agreements in iterate_with_yields(found.items()):
            self._show(catalog.DRIFTED, any(a.has_drifted for a in agreements), *place)
            if agreements:
                self._show(catalog.COSINE, min(a.lowest for a in agreements), *place, "lowest")
                self._show(catalog.COSINE, min(a.median for a in agreements), *place, "median")

    def space_checks(
        self,
        counts: Mapping[tuple[str, str, CheckOutcome], int],
        ages: Callable[[], Mapping[tuple[str, str], float]],
        every: float,
    ) -> None:
        """Register the checks of vector spaces.

        ``counts`` are by model, provider and outcome, ``ages`` in seconds by model and provider;
        ``every`` is ``CHECK["every"]``.
        """

        def look() -> None:
            self._show(catalog.SPACE_CHECK_INTERVAL, every)
            for place, age in iterate_with_yields(ages().items()):
                self._show(catalog.SPACE_CHECK_AGE, age, *place)
            for labels, number in list(counts.items()):
                self._count(catalog.SPACE_CHECKS, number, *labels)

        self._looks.append(look)

    def look(self) -> None:
        """Read all registered objects once."""
        # Does not wait: a reading may switch greenlets, and this lock would block the whole worker.
        if not self._lock.acquire(blocking=False):
            return
        try:
            for look in self._looks:
                try:
                    look()
                except Exception:  # the others are read nevertheless; logged once an episode
                    if look not in self._failing:
                        _log.exception("a metric could not be looked up")
                    self._failing.add(look)
                else:
                    self._failing.discard(look)
        finally:
            self._lock.release()

    def keep_looking(self) -> None:
        """Read every two seconds and at the end of the process, until this object is deleted."""
        alive = weakref.ref(self)

        def look() -> None:
            if (gauges := alive()) is None:
                task.stop()
            else:
                gauges.look()

        def look_at_exit() -> None:
            task.stop(1.0)  # a reading under way would be the last one, with older values
            look()

        task = PeriodicTask("metrics-gauges", look, LOOK_INTERVAL_S)
        atexit.register(look_at_exit)
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
