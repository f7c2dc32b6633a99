"""The deployments of one model: who is asked next, and who is not asked for a while."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import accumulate, groupby

from app.dispatch.deployment import Deployment
from app.domain import EmbeddingRequest
from app.errors import (
    ConnectionFailed,
    CredentialsRefused,
    ProviderError,
    ProviderTimeout,
    Rejected,
)

_log = logging.getLogger("app.dispatch")
#: Expected waits within this factor count as equal, so that weights decide while all are well.
_ALIKE = 2.0
#: Seconds a call takes where no deployment has shown it yet.
_FIRST_GUESS = 0.1


#: Draws for a second one that is not the first, before the others are listed for it.
_DRAWS = 4


class Tier:
    """Deployments that are tried before those of the next tier."""

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self.deployments = deployments
        self._summed = list(accumulate(d.settings.weight for d in deployments))
        self.mean_weight = self._summed[-1] / len(deployments)

    def draw(self, rng: random.Random) -> Deployment:
        """One, by weight."""
        if len(self.deployments) == 1:
            return self.deployments[0]
        return rng.choices(self.deployments, cum_weights=self._summed)[0]

    def draw_two(self, rng: random.Random) -> tuple[Deployment, Deployment]:
        """Two different ones, each by weight."""
        first = self.draw(rng)
        for _ in range(_DRAWS):
            second = self.draw(rng)
            if second is not first:
                return first, second
        return first, Tier([d for d in self.deployments if d is not first]).draw(rng)


class Pool:
    """Chooses and judges. Each deployment's state is read and written under its own lock."""

    def __init__(self, model: str, deployments: Sequence[Deployment], rng: random.Random) -> None:
        self.model = model
        self.deployments = sorted(deployments, key=lambda d: d.settings.tier)
        self._tiers = [
            Tier(list(tier)) for _, tier in groupby(self.deployments, key=lambda d: d.settings.tier)
        ]
        self._rng = rng

    def choose(
        self,
        now: float,
        tokens: int,
        request: EmbeddingRequest | None = None,
        avoid: Collection[Deployment] = (),
    ) -> Deployment | None:
        """Who should be asked now, or None where nobody can be.

        The first tier that can serve; in it two by weight, and of these the one with the shorter
        expected wait (power of two choices: Mitzenmacher 2001). Where nobody is fit, an ejected
        one may get its probe early. A model's only deployment is asked whatever its health: there
        is nobody to ask instead, and its own answer is the best that the caller can get.
        """
        if len(self.deployments) == 1:
            only = self.deployments[0]
            return None if only in avoid or only.quota_wait(tokens, now) else only

        def fits(last_resort: bool, deployment: Deployment) -> bool:
            return (
                deployment not in avoid
                and deployment.suits(request)
                and deployment.health.may_serve(now, last_resort)
                and not deployment.quota_wait(tokens, now)
            )

        for last_resort in (False, True):
            for tier in self._tiers:
                chosen = self._choose_in(tier, partial(fits, last_resort), now)
                if chosen is not None:
                    return chosen
            if avoid and any(d.health.may_serve(now) for d in self.deployments):
                return None  # those to avoid are fit: no last resort yet
        return None

    def _choose_in(
        self, tier: Tier, fits: Callable[[Deployment], bool], now: float
    ) -> Deployment | None:
        if len(tier.deployments) == 1:
            only = tier.deployments[0]
            return only if fits(only) else None
        # Two drawn first and looked at then: the cost does not grow with the deployments.
        first, second = tier.draw_two(self._rng)
        if not (fits(first) and fits(second)):
            fit = [d for d in tier.deployments if fits(d)]
            if len(fit) < 2:
                return fit[0] if fit else None
            # Who was drawn and fits stays: to draw both anew would favour the light ones.
            others = Tier([d for d in fit if d is not first])
            first, second = (
                (first, others.draw(self._rng)) if fits(first) else Tier(fit).draw_two(self._rng)
            )
        known = [d.known_latency(now) for d in (first, second)]
        unknown = min((k for k in known if k is not None), default=_FIRST_GUESS)
        wait = first.expected_wait(now, tier.mean_weight, unknown)
        other_wait = second.expected_wait(now, tier.mean_weight, unknown)
        return second if other_wait * _ALIKE < wait else first

    def wait(self, now: float, tokens: int, request: EmbeddingRequest | None = None) -> float:
        """Seconds until somebody may be asked again, as far as is known."""
        return min(
            max(d.health.wait(now), d.quota_wait(tokens, now))
            for d in self.deployments
            if d.suits(request)
        )

    def can_serve(self, now: float) -> bool:
        """Whether somebody is fit to be asked, now or after a rest that the provider asked for."""
        return any(d.health.state(now) != "ejected" for d in self.deployments)

    def usual(self, deployment: Deployment, items: int) -> float | None:
        """The p95, in seconds, of a call of so many items there; where too few are known, of the
        slowest of the others, since one seldom asked must not go unwatched."""
        own = deployment.latency.p95(items)
        if own is not None:
            return own
        known = [d.latency.p95(items) for d in self.deployments if d is not deployment]
        return max((p95 for p95 in known if p95 is not None), default=None)

    def succeeded(self, deployment: Deployment, items: int, seconds: float, now: float) -> None:
        with deployment.lock:
            straggler = deployment.health.is_straggler(now - seconds)
            if deployment.health.state(now) == "ejected" and not straggler:
                _log.warning("deployment %s of %s is back", deployment.label, self.model)
            deployment.latency.add(items, seconds)
            deployment.answered_at = now
            if not straggler:
                deployment.health.succeeded(now)

    def failed(
        self, deployment: Deployment, error: ProviderError, now: float, items: int, seconds: float
    ) -> bool:
        """Judge a call that failed after so long; whether nobody should go there for a while."""
        with deployment.lock:
            health = deployment.health
            if health.is_straggler(now - seconds):
                return False  # the same fault again, not a verdict on the time since
            if isinstance(error, ProviderTimeout) and seconds < deployment.patience(items):
                health.withdraw()  # its caller was in a hurry: that proves nothing
                return False
            if isinstance(error, Rejected):  # the caller's fault: the provider is well
                health.succeeded(now)
                return False
            was_well = health.state(now) != "ejected"
            if health.failed(error, now):
                if self._may_eject(deployment, error, now):
                    health.eject(error, now)
                else:
                    health.suspect(now)
            is_well = health.state(now) != "ejected"
            alone = not health.may_serve(now, last_resort=True)
        if was_well and not is_well:
            refused = isinstance(error, CredentialsRefused)
            _log.log(
                logging.ERROR if refused else logging.WARNING,
                "deployment %s of %s is ejected: it %s%s",
                deployment.label,
                self.model,
                error.message,
                ": check its api_key" if refused else "",
            )
        return alone and len(self.deployments) > 1

    def _may_eject(self, deployment: Deployment, error: ProviderError, now: float) -> bool:
        """Not so where more than half would then be out for a fault that all may share.

        A poisonous input or a fault of our own network makes all fail alike, and a sick provider
        serves more than an ejected one. One that nobody answers at is dead whatever the others do,
        and a key is refused for its own sake.
        """
        if (
            isinstance(error, ConnectionFailed | CredentialsRefused)
            or deployment.health.state(now) == "ejected"
        ):
            return True
        out = sum(d.health.state(now) == "ejected" for d in self.deployments) + 1
        return out * 2 <= len(self.deployments)
