"""The deployments of one model: chooses one for each attempt."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from itertools import groupby
from operator import attrgetter

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.deployments.accounts import Budget, UnpaidTokens
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.draw import draw
from app.dispatch.deployments.ejector import Ejector
from app.dispatch.deployments.refused_kinds import RefusedKinds
from app.dispatch.deployments.token_estimate import Expected, TokenEstimate
from app.dispatch.quotas.quota import MAX_WAIT_S

_tier = attrgetter("settings.tier")  # of a deployment
_NO_WAIT = float("-inf")  # a deadline that no call meets which has to wait for a quota


class Pool:
    """The deployments of one model, its budgets, and the choice of one for each attempt.

    ``ejector`` takes the results of calls.
    """

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
        self.deployments = sorted(deployments, key=_tier)
        self.is_alone = len(deployments) == 1
        self.estimate = estimate or TokenEstimate()
        for deployment in deployments:
            deployment.estimate = self.estimate
        self.retries = Budget(settings.retry_ratio, settings.saved_retries, settings.max_saved)
        self.hedges = Budget(settings.hedge_ratio, 0.0, settings.max_saved)
        self.ejector = Ejector(model, self.deployments)
        self.refused_kinds = RefusedKinds(settings)
        self.unpaid = UnpaidTokens()
        self._rng = rng

    # Choosing

    def choose(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment] | None = None,
        avoid: Collection[Deployment] = (),
        deadline: float = _NO_WAIT,
    ) -> Deployment | None:
        """Return the deployment to call now, or None where none may be called.

        ``deadline``: a call may wait for a quota, up to `MAX_WAIT_S`, if it is sent before that.
        There are four cases:

        1. Only one can serve the request: it is called whatever its health, since there is no
           alternative, and its own error says more than that none was called.
        2. Several are healthy: the first tier with one that may be called is used. In that tier two
           are drawn by weight, and the one with the shorter expected wait is called (the power of
           two choices: Mitzenmacher 2001). One whose quota holds the call back is passed over where
           another would send it at once: see `_without_pause`; and so is one whose 400s are in
           doubt, unless there are deployments to ``avoid``.
        3. None of them has room in its quota, but one will have it soon: that is called.
        4. None is healthy: an ejected one may get its half-open probe early.
        """
        candidates = self.deployments if suitable is None else suitable
        if len(candidates) == 1:  # case 1
            only = candidates[0]
            may_be_called = only not in avoid and self.may_be_called(
                only, expected, now, is_only=True, deadline=deadline
            )
            return only if may_be_called else None
        if not avoid:
            doubted = [d for d in candidates if d.standing.refusals.doubted_until > now]
            if doubted:
                preferred = self.choose(now, expected, suitable, doubted, deadline)
                if preferred is not None:
                    return preferred
        available = self._first_available(candidates, avoid, expected, now)
        if available:  # case 2
            if expected.flow.tier != "flex":
                available = self._without_pause(available, candidates, avoid, expected, now)
            return draw(available, self._rng, now)
        if deadline > now:  # case 3
            soon = [
                d
                for d in candidates
                if d not in avoid and self.may_be_called(d, expected, now, deadline=deadline)
            ]
            if soon:
                return min(soon, key=lambda d: d.quota_wait_s(expected, now))
        if avoid and any(self.may_be_called(d, expected, now) for d in candidates):
            return None  # one of ``avoid`` is healthy: no ejected one is probed early
        available = self._first_available(candidates, avoid, expected, now, last_resort=True)
        return draw(available, self._rng, now) if available else None  # case 4

    def _first_available(
        self,
        candidates: Sequence[Deployment],
        avoid: Collection[Deployment],
        expected: Expected,
        now: float,
        last_resort: bool = False,
    ) -> list[Deployment]:
        """Return the deployments that may be called, of the best tier that has one."""
        for _, in_tier in groupby(candidates, _tier):
            available = [
                d
                for d in in_tier
                if d not in avoid and self.may_be_called(d, expected, now, last_resort)
            ]
            if available:
                return available
        return []

    def _without_pause(
        self,
        available: list[Deployment],
        candidates: Sequence[Deployment],
        avoid: Collection[Deployment],
        expected: Expected,
        now: float,
    ) -> list[Deployment]:
        """Return the deployments whose quota does not hold a call back now.

        ``available`` are those of the first tier with one that may be called. There are three
        cases: (1) the quota of some of them has no pause: these; (2) a tier has idle deployments
        without a pause: these; (3) else the available one with the shortest pause.
        """
        has_quota = any(d.quota.is_limited or d.quota.exhausted_until > now for d in available)
        if not has_quota:  # the usual case
            return available
        pauses = {d: d.quota.held_back_s(expected.largest, now) for d in available}
        at_once = [d for d, pause in pauses.items() if not pause]
        if at_once:
            return at_once
        for _, in_tier in groupby(candidates, _tier):
            idle = [
                d
                for d in in_tier
                if d not in avoid
                and d.queue.free > 0
                and not d.queue.waiting
                and not d.quota.held_back_s(expected.largest, now)
                and self.may_be_called(d, expected, now)
            ]
            if idle:
                return idle
        return [min(available, key=lambda d: (pauses[d], d.queue.outstanding(d)))]

    def has_other(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment],
        avoid: Collection[Deployment],
    ) -> bool:
        """Whether `choose` would return a deployment; draws no random number."""
        others = [d for d in suitable if d not in avoid]
        if len(suitable) == 1:
            return any(self.may_be_called(d, expected, now, is_only=True) for d in others)
        if any(self.may_be_called(d, expected, now) for d in suitable):
            return any(self.may_be_called(d, expected, now) for d in others)
        return any(self.may_be_called(d, expected, now, last_resort=True) for d in others)

    @staticmethod
    def may_be_called(
        deployment: Deployment,
        expected: Expected,
        now: float,
        last_resort: bool = False,
        is_only: bool = False,
        deadline: float = _NO_WAIT,
    ) -> bool:
        """Whether a deployment may be called, by its queue, its health and its quota.

        ``deadline``: a call may wait for the quota, if it is sent before that: see `choose`.
        """
        queue, flow = deployment.queue, expected.flow
        # A queue may be full of attempts that wait for the quotas of other deployments.
        if not queue.has_room(flow) and not queue.starts_at_once(deployment, flow.tier, now):
            return False
        if not deployment.standing.may_be_called(now, last_resort, is_only):
            return False
        wait = deployment.quota_wait_s(expected, now)
        return not wait or (wait <= MAX_WAIT_S and now + wait < deadline)

    # The state of all deployments

    @property
    def max_slots(self) -> int:
        """How many parts of a request may run at once: the most slots of a provider, at least 1."""
        if self.is_alone:
            return self.deployments[0].queue.slots or 1
        return max(d.queue.slots for d in self.deployments) or 1

    def wait_s(self, now: float, expected: Expected, suitable: Sequence[Deployment]) -> float:
        """Return the seconds until one of ``suitable`` may be called again, by rests and quotas."""
        return min(max(d.standing.wait_s(now), d.quota_wait_s(expected, now)) for d in suitable)

    def is_throttled(self, now: float, expected: Expected, suitable: Sequence[Deployment]) -> bool:
        """Whether a quota, or a rest after a 429, keeps one of ``suitable`` from being called."""
        return any(d.standing.is_throttled(now) or d.quota_wait_s(expected, now) for d in suitable)

    def is_full(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment],
        longest_wait_s: float = 0.0,
    ) -> bool:
        """Whether a full queue is all that keeps one of ``suitable`` from being called.

        ``longest_wait_s``: for so many seconds an attempt would wait there for a quota.
        """
        return any(
            not d.queue.has_room(expected.flow)
            and not d.queue.starts_at_once(d, expected.flow.tier, now)
            and d.standing.may_be_called(now, True, is_only=len(suitable) == 1)
            and d.quota_wait_s(expected, now) <= longest_wait_s
            for d in suitable
        )

    def can_serve(self, now: float) -> bool:
        """Whether at least one deployment is not ejected, even if all of them rest."""
        return not all(d.standing.is_ejected for d in self.deployments)

    def p95_or_slowest_s(self, deployment: Deployment, items: int) -> float | None:
        """Return the p95 in seconds of calls of so many items; None while unknown for all.

        A deployment with too few calls for a p95 gets the slowest p95 of the others, so that its
        calls can be hedged and late, too.
        """
        own = deployment.standing.p95_s(items)
        if own is not None:
            return own
        known = [d.standing.p95_s(items) for d in self.deployments if d is not deployment]
        return max((p95_s for p95_s in known if p95_s is not None), default=None)
