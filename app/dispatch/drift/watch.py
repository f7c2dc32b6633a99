"""The background task that checks deployments, and has every worker follow the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.concurrency.periodic import PeriodicTask
from app.config import CheckSettings, Settings
from app.dispatch import Dispatcher
from app.dispatch.deployments.deployment import Agreement
from app.dispatch.drift.checker import Checker
from app.dispatch.drift.hosts import Episodes, OtherHosts
from app.dispatch.drift.known_references import KnownReferences
from app.dispatch.drift.reference import References
from app.dispatch.drift.results import CheckResult, CheckResults, HostLock, ResultsFile, newest
from app.dispatch.drift.targets import Target, targets_of

if TYPE_CHECKING:
    from app.dispatch.drift.valkey import SharedResults

_log = logging.getLogger("app.drift")

#: Seconds between two ticks of a worker, so that a result reaches all of them within that; a
#: quarter of a short "every", but no less than the second number.
MAX_TICK_S, MIN_TICK_S = 2.0, 0.1
#: The share of "every" after which a deployment is checked along with those that are due.
CHECK_ALONG_SHARE = 0.9
#: Seconds by which the clock of another host may be ahead.
MAX_CLOCK_SKEW_S = 60.0


class DriftWatch:
    """Checks all deployments of spaces with a reference, every ``CHECK["every"]`` seconds.

    A tick has two cases:

    1. This worker holds the host's lock, from its first tick to its end. It reads the references,
       and the results of other hosts. Where a check is due, and no other host makes it (the lease),
       it starts one, and writes each result, when it comes, for the other workers and hosts.
    2. Another worker holds the lock, or the references cannot be read yet: this one reads the
       results if they have changed.

    In both the results are recorded in the dispatcher, which ejects what has drifted if
    ``CHECK["on_drift"]`` is "eject".
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: Settings,
        check: CheckSettings,
        references: References,
        directory: Path,
        shared: SharedResults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dispatcher, self._settings = dispatcher, check
        self._clock = clock
        self._targets = targets_of(dispatcher.deployments(), settings.models, settings.providers)
        self._episodes = Episodes()
        self._hosts = OtherHosts(shared, self._episodes, clock)
        self._lock = HostLock(directory / "space-check.lock")
        self._file = ResultsFile(directory)
        self._results: CheckResults = {}  # that were recorded last
        self._written: CheckResults = {}  # that are in the file, as the worker with the lock knows
        spaces = [target.space for target in self._targets.values()]
        self._known = KnownReferences(references, spaces, check.every, self._episodes, clock)
        tick_s = self._tick_s = max(MIN_TICK_S, min(MAX_TICK_S, check.every / 4))
        self._task = PeriodicTask(
            "space-check",
            self.tick,
            tick_s,
            first_after_s=MIN_TICK_S,
            jitter=0.1,
            at_stop=self._close,
        )
        self._checker = Checker(
            dispatcher.background_calls, check, lambda: self._task.is_stopping, clock
        )
        self.every = check.every
        #: Checks that this process has made, by model, provider and outcome.
        self.counts = self._checker.counts

    def start(self) -> None:
        """Start the background task, in the process that serves.

        The results of the host are read before, so that no request reaches a deployment that other
        workers have ejected.
        """
        try:
            self._follow()
        except OSError as error:  # the task reads them again, and logs what it cannot read
            _log.warning("the results of the checks of vector spaces: %s", error.strerror)
        self._task.start()

    def stop(self) -> None:
        """End the background task, and leave a check that is under way."""
        self._task.stop(1.0)

    def tick(self) -> None:
        """Check what is due, if this worker is the one that does, and follow the results."""
        if self._lock.acquire():
            self._known.poll()
            if self._known.has_read:
                self._lead()
                return
        self._follow()

    def ages(self) -> dict[tuple[str, str], float]:
        """Return the seconds since vectors were last compared, by model and provider.

        Where none ever were, those since the first check that failed; 0 without a reference.
        """
        now, ages = self._clock(), dict[tuple[str, str], float]()
        for key, target in self._targets.items():
            result = self._results.get(key)
            since = now if result is None else result.checked_at or result.failing_since or now
            for model, deployment in target.deployments:
                place = (model, deployment.provider_name)
                ages[place] = max(ages.get(place, 0.0), now - since)
        return ages

    def _close(self) -> None:
        self._lock.release()
        self._hosts.release_lease()
        self._hosts.close()

    # The worker with the lock

    def _lead(self) -> None:
        self._written = self._file.read()
        known = newest(self._current(self._written), self._current(self._results))
        results = newest(known, self._current(self._hosts.read()))
        self._keep(results)
        self._start_due(results)
        while self._checker.is_running and self._collect(results):
            self._start_due(results)
        if self._checker.is_running:  # the next tick goes on
            self._hosts.extend_lease()
        else:
            self._hosts.release_lease()

    def _start_due(self, results: CheckResults) -> None:
        """Start the checks that are due, as many as may run.

        Results of other hosts are added to ``results``.
        """
        due = [target for target in self._due(results) if self._checker.may_start(target)]
        if not due or self._task.is_stopping:
            return
        has_lease = any(not t.is_on_this_host for t in due) and self._hosts.acquire_lease()
        if has_lease:  # another host may have checked meanwhile
            results |= newest(results, self._current(self._hosts.read()))
        for target in self._due(results):
            if (has_lease or target.is_on_this_host) and self._checker.may_start(target):
                self._checker.start(
                    target, self._known.by_space[target.space], results.get(target.key)
                )

    def _collect(self, results: CheckResults) -> bool:
        """Add each result to ``results`` as soon as it comes; record, write and publish it.

        Returns whether all checks have ended, within the time of a tick.
        """
        for key, result in self._checker.wait_for_results(self._tick_s):
            found = self._current({key: result})  # the reference may have been recorded anew
            results |= found
            self._keep(results)
            self._hosts.publish(found)
            self._hosts.extend_lease()
        return not self._checker.is_running

    def _keep(self, results: CheckResults) -> None:
        """Record the results, and write them for the other workers of the host."""
        self._record(dict(results))
        if results == self._written:
            return
        what = "the file with the results of checks of vector spaces"
        try:
            self._file.write(results)
        except OSError as error:
            self._episodes.failed(what, error.strerror)
        else:
            self._episodes.succeeded(what)
            self._written = dict(results)

    def _due(self, results: Mapping[str, CheckResult]) -> list[Target]:
        """Return the targets to check now; none where none is due."""
        watched = [t for t in self._targets.values() if t.space in self._known.by_space]
        if not any(self._is_due(results.get(t.key), 1.0) for t in watched):
            return []
        return [t for t in watched if self._is_due(results.get(t.key), CHECK_ALONG_SHARE)]

    def _is_due(self, result: CheckResult | None, share: float) -> bool:
        if result is None:
            return True
        every = self._settings.every
        wait_s = min(every, result.retry_s or every)
        age_s = self._clock() - result.tried_at
        is_in_the_future = age_s < -MAX_CLOCK_SKEW_S
        return is_in_the_future or age_s >= wait_s * share

    def _current(self, results: Mapping[str, CheckResult]) -> CheckResults:
        """Return the results for our deployments that are compared with the current references."""
        current: CheckResults = {}
        for key, result in results.items():
            target = self._targets.get(key)
            reference = None if target is None else self._known.by_space.get(target.space)
            if reference is not None and reference.id == result.reference:
                current[key] = result
        return current

    # Every worker

    def _follow(self) -> None:
        """Record the results of the host, if they have changed."""
        found = self._file.read_if_changed()
        if found is not None:
            self._record(found)

    def _record(self, results: CheckResults) -> None:
        """Record the results in the dispatcher."""
        self._results = results
        for key, target in self._targets.items():
            agreement = self._agreement(results.get(key))
            for _, deployment in target.deployments:
                if deployment.agreement != agreement:
                    self._dispatcher.set_agreement(deployment, agreement, self._settings.ejects)

    def _agreement(self, result: CheckResult | None) -> Agreement | None:
        if result is None or result.lowest is None or result.median is None:
            return None
        return Agreement(
            result.lowest,
            result.median,
            result.text,
            result.checked_at,
            result.has_drifted(self._settings.min_cosine),
        )
