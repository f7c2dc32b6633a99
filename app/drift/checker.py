"""Checks of deployments: embeds the probe texts, compares, counts, and logs once an episode."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from app.config import CheckSettings
from app.dispatch.attempt import NotSent
from app.dispatch.deployment import Deployment
from app.dispatch.drift import BackgroundCalls
from app.domain import Vectors
from app.drift.reference import Reference, compare
from app.drift.results import CheckResult, CheckResults
from app.drift.targets import Target, embed_texts
from app.errors import ProviderError

_log = logging.getLogger("app.drift")

#: Deployments that are checked at the same time.
MAX_PARALLEL_CHECKS = 8
#: Seconds that all calls of a check wait for slots that no request needs, and for their quota.
SLOT_WAIT_S = 120.0
_JOIN_S = 0.1  # between two looks whether the process stops

#: ``skipped``: the deployment was ejected or resting, or had no idle slot or no quota left.
CheckOutcome = Literal["agreed", "drifted", "failed", "skipped"]


class Checker:
    """Checks deployments against references. ``counts`` are by model, provider and outcome.

    ``is_stopping`` ends a check early. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        calls: BackgroundCalls,
        settings: CheckSettings,
        is_stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[tuple[str, str, CheckOutcome]] = Counter()
        self._calls = calls
        self._settings = settings
        self._is_stopping = is_stopping
        self._clock = clock

    def check_all(
        self,
        targets: Sequence[Target],
        references: Mapping[str, Reference],
        previous: Mapping[str, CheckResult],
    ) -> CheckResults:
        """Check targets, `MAX_PARALLEL_CHECKS` at most, at the same time; return their results.

        ``previous`` are results by the keys of targets, of the same references. A check that has
        not ended when the process stops has no result.
        """
        checked: dict[str, tuple[CheckResult, CheckOutcome]] = {}

        def check(target: Target) -> None:
            before = previous.get(target.key)
            checked[target.key] = self._check(target, references[target.space], before)

        threads = [
            threading.Thread(target=check, args=(target,), daemon=True, name="space-check")
            for target in targets[:MAX_PARALLEL_CHECKS]
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self._is_stopping():
            next(thread for thread in threads if thread.is_alive()).join(_JOIN_S)
        results: CheckResults = {}
        for target in targets:
            if target.key in checked:
                results[target.key], outcome = checked[target.key]
                self.counts[target.model, target.deployment.name, outcome] += 1
                self._log_change(target, results[target.key], previous.get(target.key))
        return results

    def _check(
        self, target: Target, reference: Reference, before: CheckResult | None
    ) -> tuple[CheckResult, CheckOutcome]:
        now = self._clock()
        outcome: CheckOutcome
        try:
            rows = self._embed(target)
        except NotSent as error:
            outcome, result = "skipped", _not_checked(reference, before, now, error.message)
        except ProviderError as error:
            outcome, result = "failed", _not_checked(reference, before, now, error.message)
        except Exception:  # a bug: the other checks go on
            _log.exception("a check of deployment %s failed", target.deployment.label)
            outcome, result = "failed", _not_checked(reference, before, now, "failed by a bug")
        else:
            cosines = compare(rows, reference.rows)
            result = CheckResult(
                reference.id, now, now, cosines.lowest, cosines.median, cosines.text
            )
            has_drifted = result.has_drifted(self._settings.min_cosine)
            outcome = "drifted" if has_drifted else "agreed"
        return result, outcome

    def _embed(self, target: Target) -> list[bytes]:
        deployment = _askable(target)
        give_up_at = time.monotonic() + SLOT_WAIT_S

        def embed(texts: Sequence[str]) -> Vectors:
            wait_s = max(0.0, give_up_at - time.monotonic())
            return self._calls.embed(deployment, texts, wait_s, self._is_stopping)

        return embed_texts(deployment, embed)

    def _log_change(self, target: Target, result: CheckResult, before: CheckResult | None) -> None:
        """Log what is not as it was after the check before."""
        settings, label = self._settings, target.deployment.label
        had_drifted = before is not None and before.has_drifted(settings.min_cosine)
        if result.error:
            if before is None or not before.error:
                _log.warning(
                    "deployment %s cannot be compared with the reference of space %s: it %s",
                    label,
                    target.space,
                    result.error,
                )
        elif result.has_drifted(settings.min_cosine) and not had_drifted:
            _log.log(
                logging.ERROR if settings.ejects else logging.WARNING,
                "deployment %s has drifted from the reference of space %s: its lowest cosine is "
                "%.6f, on the text %r, its median %.6f%s",
                label,
                target.space,
                result.lowest,
                result.text,
                result.median,
                "; it is not called any more" if settings.ejects else "",
            )
        elif had_drifted and not result.has_drifted(settings.min_cosine):
            _log.warning(
                "deployment %s agrees with the reference of space %s again: its lowest cosine is "
                "%.6f",
                label,
                target.space,
                result.lowest,
            )


def _askable(target: Target) -> Deployment:
    """Return a deployment of the target that may be called. Raises `NotSent`.

    One whose ejection has passed may be: its half-open probe is a request, which may never come.
    """
    now = time.monotonic()
    for _, deployment in target.deployments:
        if deployment.health.wait(now) == 0:
            return deployment
    raise NotSent("is ejected or resting")


def _not_checked(
    reference: Reference, before: CheckResult | None, now: float, error: str
) -> CheckResult:
    """Return the result of a deployment that could not be asked: the cosines of the one before."""
    return replace(before or CheckResult(reference.id, now), tried_at=now, error=error)
