"""Checks of deployments: embeds the probe texts, compares, counts, and logs once an episode."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from app.config import CheckSettings
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.drift.check_log import log_change
from app.dispatch.drift.embedding import Progress, calls_for
from app.dispatch.drift.reference import Reference, compare
from app.dispatch.drift.results import CheckResult
from app.dispatch.drift.targets import Target
from app.dispatch.drift.texts import NAMES, PROBES
from app.dispatch.queue.attempts import NotSent
from app.dispatch.sending.background_calls import BackgroundCalls
from app.domain import Vectors
from app.errors import ProviderError, ProviderTimeout, Rejected

_log = logging.getLogger("app.drift")

#: Deployments that are checked at the same time.
MAX_PARALLEL_CHECKS = 8
#: Seconds that all calls of a check wait for slots that no request needs.
SLOT_WAIT_S = 120.0
#: Seconds that all calls of a check may take, the wait for slots included.
MAX_CHECK_S = 180.0
#: Seconds until a deployment that could not be asked is tried again; twice as long after each
#: further failure of a call, up to "every".
RETRY_S = 60.0
#: Rows of a check that did not end are dropped when none has come for so long, or for two "every".
MIN_ROWS_AGE_S = 4 * 3600.0
#: The share of a deployment's quota up to which all calls of a check are made at once.
MAX_QUOTA_SHARE = 0.5
#: The share of it that a check uses otherwise, call by call.
SLOW_CHECK_SHARE = 0.1
_JOIN_S = 0.1  # between two checks whether the process stops

#: ``skipped``: the deployment was ejected or resting, or had no idle slot or no quota left.
CheckOutcome = Literal["agreed", "drifted", "failed", "skipped"]
#: A check: its target, its result, the result before, and its outcome; None: it goes on later.
EndedCheck = tuple[Target, CheckResult, CheckResult | None, CheckOutcome | None]


class _Unfinished(Exception):
    """A call was made, and the quota has no room for the others now."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.pause_s = pause_s


class Checker:
    """Checks deployments against references. ``counts`` are by model, provider and outcome.

    Each check has a thread of its own, so that a slow deployment delays no result of another.
    ``is_stopping`` ends a check early. ``clock`` gives seconds since 1970. One thread calls the
    methods; it alone changes ``counts`` and ``_running``.
    """

    def __init__(
        self,
        calls: BackgroundCalls,
        settings: CheckSettings,
        is_stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[tuple[str, str, CheckOutcome]] = Counter()
        self._calls = calls
        self._settings = settings
        self._is_stopping = is_stopping
        self._clock, self._monotonic = clock, monotonic
        self._running: set[str] = set()  # keys of targets
        self._ended = queue.Queue[EndedCheck]()
        self._progress: dict[str, Progress] = {}  # of checks that did not end, by target

    @property
    def is_running(self) -> bool:
        """Whether a check has started whose result `wait_for_results` has not yielded yet."""
        return bool(self._running)

    def may_start(self, target: Target) -> bool:
        """Whether a check of this target is not under way, and fewer than the most are."""
        return target.key not in self._running and len(self._running) < MAX_PARALLEL_CHECKS

    def start(self, target: Target, reference: Reference, before: CheckResult | None) -> None:
        """Start a check. ``before`` is the last result with the same reference."""

        def run() -> None:
            result, outcome = self._check(target, reference, before)
            self._ended.put((target, result, before, outcome))

        threading.Thread(target=run, daemon=True, name="space-check").start()
        self._running.add(target.key)  # not before: where no thread can be had, nothing runs

    def wait_for_results(self, seconds: float) -> Iterator[tuple[str, CheckResult]]:
        """Yield the results by the keys of their targets, each as soon as its check has ended.

        Stops when no check runs, after ``seconds``, or when the process stops.
        """
        end = time.monotonic() + seconds
        while self._running and not self._is_stopping():
            wait_s = min(_JOIN_S, max(0.0, end - time.monotonic()))
            try:
                target, result, before, outcome = self._ended.get(timeout=wait_s)
            except queue.Empty:
                if time.monotonic() >= end:
                    return
                continue
            self._running.discard(target.key)
            if outcome is not None:
                self.counts[target.model, target.deployment.provider_name, outcome] += 1
            log_change(target, result, before, self._settings)
            yield target.key, result

    # In the thread of a check

    def _check(
        self, target: Target, reference: Reference, before: CheckResult | None
    ) -> tuple[CheckResult, CheckOutcome | None]:
        """Return the result, and the outcome if the check has ended."""
        last = before or CheckResult(reference.id, self._clock())
        progress = self._progress_of(target, reference, last)
        try:
            self._embed(target, progress)
        except _Unfinished as unfinished:
            pause_s = min(self._settings.every, unfinished.pause_s)
            return last.with_unfinished(self._clock(), pause_s), None
        except NotSent as error:
            return last.with_failure(error.message, self._clock(), RETRY_S), "skipped"
        except ProviderError as error:
            retry_s = self._pause_s(error, last)
            return last.with_failure(error.message, self._clock(), retry_s), "failed"
        except Exception:  # a bug: the other checks go on
            _log.exception("a check of deployment %s failed", target.deployment.label)
            retry_s = self._settings.every
            return last.with_failure("failed by a bug", self._clock(), retry_s), "failed"
        self._progress.pop(target.key, None)
        result = _compared(progress, reference, self._clock())
        has_drifted = result.has_drifted(self._settings.min_cosine)
        return result, "drifted" if has_drifted else "agreed"

    def _progress_of(self, target: Target, reference: Reference, last: CheckResult) -> Progress:
        """Return what the last check has got, if this one may continue it; else nothing."""
        now, found = self._clock(), self._progress.get(target.key)
        max_age_s = max(MIN_ROWS_AGE_S, 2 * self._settings.every)
        if (
            found is None
            or found.reference != reference.id
            or found.begun_at < last.checked_at
            or not 0 <= now - found.changed_at <= max_age_s
        ):
            found = self._progress[target.key] = Progress(reference.id, now, now)
        found.refused.clear()  # the deployment may take these texts now
        return found

    def _embed(self, target: Target, progress: Progress) -> None:
        """Embed what is missing, as far as the quota has room.

        Raises `NotSent`, the `ProviderError` of a call, and `_Unfinished`.
        """
        deployment = _askable(target)
        now = self._monotonic()
        slots_until, end = now + SLOT_WAIT_S, now + MAX_CHECK_S

        def make_call(texts: Sequence[str]) -> Vectors:
            now = self._monotonic()
            if now >= end:
                raise ProviderTimeout("did not embed the probe texts in time")
            wait_s = max(0.0, slots_until - now)
            vectors = self._calls.embed(deployment, texts, wait_s, self._is_stopping, end)
            progress.changed_at = self._clock()
            return vectors

        calls = self._calls_to_make(deployment, progress)
        for indexes in calls:
            progress.embed(indexes, make_call)
        if progress.missing():
            pause_s = self._calls.interval_s(deployment, _texts(calls[0]), SLOW_CHECK_SHARE)
            raise _Unfinished(pause_s)

    def _calls_to_make(self, deployment: Deployment, progress: Progress) -> Sequence[Sequence[int]]:
        """Return the texts of the calls to make now. Raises `NotSent`.

        There are three cases: all calls that are missing leave half of the quota to requests; one
        call, or one text, leaves some of it, or is the only one; there is no room.
        """
        calls = calls_for(deployment, progress.missing())
        used = self._calls.used_share(deployment, [_texts(indexes) for indexes in calls])
        if used <= MAX_QUOTA_SHARE:
            return calls
        for indexes in (calls[0], calls[0][:1]):
            if self._calls.has_quota(deployment, _texts(indexes)):
                return [indexes]
        raise NotSent("has too little quota left")

    def _pause_s(self, error: ProviderError, last: CheckResult) -> float:
        """Return the seconds until a check that failed is tried again."""
        every = self._settings.every
        if isinstance(error, Rejected):  # the same texts will be refused again
            return every
        return min(every, max(RETRY_S, 2 * last.retry_s))


def _texts(indexes: Sequence[int]) -> list[str]:
    return [PROBES[i] for i in indexes]


def _askable(target: Target) -> Deployment:
    """Return a deployment of the target that may be called. Raises `NotSent`.

    One whose ejection has passed may be: its half-open probe is a request, which may never come.
    """
    now = time.monotonic()
    for _, deployment in target.deployments:
        if deployment.standing.wait_s(now, ignores_drift=True) == 0:
            return deployment
    raise NotSent("is ejected or resting")


def _compared(progress: Progress, reference: Reference, now: float) -> CheckResult:
    """Return the result of a check that got the vectors of all texts that are not refused."""
    indexes, others = sorted(progress.rows), reference.rows
    cosines = compare(
        [progress.rows[i] for i in indexes],
        [others[i] for i in indexes],
        [NAMES[i] for i in indexes],
    )
    return CheckResult(
        reference.id,
        now,
        now,
        cosines.lowest,
        cosines.median,
        cosines.text,
        refusal=progress.refusal(),
    )
