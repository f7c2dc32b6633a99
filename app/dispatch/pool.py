"""The deployments of one model: which is asked next, and which is not asked for a while."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from app.config_dispatch import DispatchSettings
from app.dispatch.attempt import Attempt, Batch
from app.dispatch.budget import Budget
from app.dispatch.deployment import Deployment
from app.dispatch.plan import Expected, TokenEstimate
from app.domain import Vectors
from app.errors import (
    ConnectionFailed,
    CredentialsRefused,
    ProviderError,
    ProviderTimeout,
    Rejected,
)

_log = logging.getLogger("app.dispatch")
#: Expected waits within this factor count as equal, so that weights decide while all are well.
_EQUAL_WAIT_FACTOR = 2.0
_UNKNOWN_LATENCY_S = 0.1  # of a call, where no deployment has shown it yet


class Pool:
    """Chooses and judges. What it knows of a deployment is in the deployment's `Standing`."""

    def __init__(
        self,
        model: str,
        deployments: Sequence[Deployment],
        rng: random.Random,
        settings: DispatchSettings | None = None,
        estimate: TokenEstimate | None = None,
    ) -> None:
        settings = settings or DispatchSettings()
        self.model = model
        self.settings = settings
        self.deployments = sorted(deployments, key=lambda d: d.settings.tier)
        self.is_alone = len(deployments) == 1
        self.estimate = estimate or TokenEstimate()
        self.retries = Budget(settings.retry_ratio, settings.saved_retries, settings.max_saved)
        self.hedges = Budget(settings.hedge_ratio, 0.0, settings.max_saved)
        self.max_slots = max(d.queue.slots for d in deployments)
        self._rng = rng

    # Choosing

    def choose(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment] | None = None,
        avoid: Collection[Deployment] = (),
    ) -> Deployment | None:
        """The deployment to ask now, or None where none can be asked.

        1. A model's only deployment is asked whatever its health: there is no other, and its own
           answer is the best that the caller can get.
        2. Else the first tier counts that has a deployment which may be asked. In it two are drawn
           by weight, and the one with the shorter expected wait is asked (the power of two
           choices: Mitzenmacher 2001).
        3. Where none is well, an ejected one may get its probe early.
        """
        candidates = self.deployments if suitable is None else suitable
        if self.is_alone:
            only = self.deployments[0]
            return only if only not in avoid and self._may_be_asked(only, expected, now) else None
        for last_resort in (False, True):
            for tier in self._tiers(candidates, avoid):
                fit = [d for d in tier if self._may_be_asked(d, expected, now, last_resort)]
                if fit:
                    return self._draw(fit, now)
            if avoid and any(self._may_be_asked(d, expected, now) for d in candidates):
                return None  # those to avoid are well: this is no last resort yet
        return None

    def has_other(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment],
        avoid: Collection[Deployment],
    ) -> bool:
        """Whether `choose` would find one, without a draw."""
        return self._any(now, expected, [d for d in suitable if d not in avoid], False) or (
            not self._any(now, expected, suitable, False)
            and self._any(now, expected, [d for d in suitable if d not in avoid], True)
        )

    def _any(
        self, now: float, expected: Expected, among: Sequence[Deployment], last_resort: bool
    ) -> bool:
        return any(self._may_be_asked(d, expected, now, last_resort) for d in among)

    def _may_be_asked(
        self, deployment: Deployment, expected: Expected, now: float, last_resort: bool = False
    ) -> bool:
        return (
            not deployment.queue.is_full
            and deployment.standing.may_be_asked(now, last_resort, self.is_alone)
            and not deployment.quota_wait(expected, now)
        )

    @staticmethod
    def _tiers(
        candidates: Sequence[Deployment], avoid: Collection[Deployment]
    ) -> Iterator[list[Deployment]]:
        for _, tier in groupby(candidates, key=lambda d: d.settings.tier):
            yield [d for d in tier if d not in avoid]

    def _draw(self, fit: list[Deployment], now: float) -> Deployment:
        """One of several that may be asked: by weight, and by the shorter expected wait of two."""
        if len(fit) == 1:
            return fit[0]
        weights = [d.settings.weight * d.standing.share(now) for d in fit]
        first = self._rng.choices(fit, weights)[0]
        others = [(d, w) for d, w in zip(fit, weights, strict=True) if d is not first]
        second = others[0][0]
        if len(others) > 1:
            second = self._rng.choices([d for d, _ in others], [w for _, w in others])[0]
        known = [d.standing.known_latency(now) for d in (first, second)]
        unknown = min((k for k in known if k is not None), default=_UNKNOWN_LATENCY_S)
        mean_weight = sum(d.settings.weight for d in fit) / len(fit)
        wait, other_wait = (
            self._expected_wait(d, now, mean_weight, unknown) for d in (first, second)
        )
        return second if other_wait * _EQUAL_WAIT_FACTOR < wait else first

    @staticmethod
    def _expected_wait(
        deployment: Deployment, now: float, mean_weight: float, unknown: float
    ) -> float:
        """Seconds an attempt given to it now may take: what is before it times what a call takes.

        Before it are the attempts at this deployment, more of them for a light one, or all that
        waits at its provider. During the slow start it seems slower than it is.
        """
        own = deployment.queue.outstanding(deployment) * mean_weight / deployment.settings.weight
        before = max(own, deployment.queue.outstanding_calls)
        seconds = deployment.standing.seconds_a_call(now, unknown)
        return (before + 1) * seconds / deployment.standing.share(now)

    # What is known of all

    def wait(self, now: float, expected: Expected, suitable: Sequence[Deployment]) -> float:
        """Seconds until one may be asked again, as far as is known."""
        return min(max(d.standing.wait(now), d.quota_wait(expected, now)) for d in suitable)

    def is_full(self, now: float, expected: Expected, suitable: Sequence[Deployment]) -> bool:
        """Whether one could be asked if its queue were not full."""
        return any(
            d.queue.is_full
            and d.standing.may_be_asked(now, True, self.is_alone)
            and not d.quota_wait(expected, now)
            for d in suitable
        )

    def can_serve(self, now: float) -> bool:
        """Whether one is fit to be asked, now or after a rest that the provider asked for."""
        return any(not d.health.is_ejected for d in self.deployments)

    def p95_or_slowest(self, deployment: Deployment, items: int) -> float | None:
        """The p95, in seconds, of a call of so many items there; where too few are known, of the
        slowest of the others, since one seldom asked must not go unwatched."""
        own = deployment.standing.p95(items)
        if own is not None:
            return own
        known = [d.standing.p95(items) for d in self.deployments if d is not deployment]
        return max((p95 for p95 in known if p95 is not None), default=None)

    # Judging

    def succeeded(
        self, batch: Batch, vectors: Vectors, call_started_at: float, now: float
    ) -> list[Deployment]:
        """A call brought vectors. Returns the deployments that are ejected because they stay
        silent while this one answers."""
        deployment, first = batch.deployment, batch.attempts[0]
        items = batch.inputs
        if deployment.standing.succeeded(items, call_started_at, now, first.kind):
            _log.warning("deployment %s of %s is back", deployment.label, self.model)
        if self.is_alone:
            return []
        silent = []
        for other in self.deployments:
            if other is deployment or not other.standing.in_flight:
                continue
            if not other.standing.is_silent(now, call_started_at):
                continue
            error = ProviderTimeout("did not answer in time")
            if not self._may_eject(other, error, now):
                other.standing.suspect(now)
                continue
            other.standing.eject(error, now)
            self._log_ejection(other, error)
            silent.append(other)
        return silent

    def failed(
        self,
        deployment: Deployment,
        error: ProviderError,
        items: int,
        call_started_at: float,
        now: float,
    ) -> bool:
        """Judge a call that failed; whether the deployment is newly ejected for it."""
        others = [d.standing.answered_at for d in self.deployments if d is not deployment]
        ejected = deployment.standing.failed(
            error,
            items,
            call_started_at,
            now,
            max(others, default=None),
            lambda: self._may_eject(deployment, error, now),
        )
        if ejected:
            self._log_ejection(deployment, error)
        return ejected

    def refused(self, batch: Batch, call_started_at: float, now: float) -> bool:
        """A call ended with 400; whether that is to be believed at once."""
        standing = batch.deployment.standing
        trusted = self.is_alone or standing.trusts_400(batch.attempts[0].kind, now)
        standing.refused(trusted, bool(batch.rest), call_started_at, now)
        return trusted

    def refuted(self, attempt: Attempt, now: float) -> bool:
        """Another deployment embedded what this one refused with 400; whether it is ejected."""
        deployment = attempt.deployment
        error = Rejected("answered 400 to what another deployment embeds")
        ejected = deployment.standing.refuted(
            attempt.batch_size,
            attempt.is_probe,
            now,
            lambda: self._may_eject(deployment, error, now),
        )
        if ejected:
            self._log_ejection(deployment, error)
        return ejected

    def _may_eject(self, deployment: Deployment, error: ProviderError, now: float) -> bool:
        """Not so where more than half would then be out for a fault that all may share.

        A poisonous input or a fault of our own network makes all fail alike, and a sick provider
        serves more than an ejected one. One that refuses connections is dead whatever the others
        do, a key is refused for its own sake, and a 400 is refuted by one that is well.
        """
        if isinstance(error, ConnectionFailed | CredentialsRefused | Rejected):
            return True
        out = sum(d.health.is_ejected for d in self.deployments) + 1
        return out * 2 <= len(self.deployments)

    def _log_ejection(self, deployment: Deployment, error: ProviderError) -> None:
        refused = isinstance(error, CredentialsRefused)
        _log.log(
            logging.ERROR if refused else logging.WARNING,
            "deployment %s of %s is ejected: it %s%s",
            deployment.label,
            self.model,
            error.message,
            ": check its api_key" if refused else "",
        )
