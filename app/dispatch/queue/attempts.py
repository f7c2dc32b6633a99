"""The attempts at one provider that have not ended: every change of their state is made here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.dispatch.queue.attempt import Attempt, AttemptState
from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import TIERS, Flow, Tier

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.batch import Batch

_QUEUED, _IN_FLIGHT = AttemptState.QUEUED, AttemptState.IN_FLIGHT


class Attempts:
    """The attempts at one provider, counted by state. See `AttemptState` for the states.

    `app.dispatch.queue.slot_queue.SlotQueue` owns it, and holds its own lock during every call.
    """

    def __init__(self) -> None:
        self.waiting = 0  # attempts in state `QUEUED`; some of them may be held outside ``queue``
        self.queue = WaitingAttempts()
        self.outstanding: dict[Deployment, int] = {}  # attempts queued or in flight
        #: Waiting attempts and their tokens, by deployment and tier; only where it has a quota.
        self._waiting_of: dict[tuple[Deployment, Tier], tuple[int, int]] = {}

    def add(self, attempt: Attempt) -> None:
        """Count a new attempt as outstanding. The caller must enqueue or send it."""
        deployment = attempt.deployment
        self.outstanding[deployment] = self.outstanding.get(deployment, 0) + 1

    def enqueue(self, attempt: Attempt) -> None:
        """Put a new attempt into the queue."""
        attempt.state = _QUEUED
        self.queue.add(attempt)
        self._count_waiting(attempt, 1)

    def set_in_flight(self, attempts: Iterable[Attempt], batch: Batch) -> None:
        """Mark attempts as in flight in a batch. They must have been taken out of the queue."""
        for attempt in attempts:
            if attempt.state is _QUEUED:
                self._count_waiting(attempt, -1)
            attempt.state = _IN_FLIGHT
            attempt.batch = batch

    def set_queued(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Mark those attempts of an ended batch as queued whose result is still awaited."""
        awaited = self.keep_awaited(attempts)
        for attempt in awaited:
            if attempt.state is _IN_FLIGHT:
                attempt.state = _QUEUED
                attempt.batch = None
                self._count_waiting(attempt, 1)
        return awaited

    def keep_awaited(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Return the attempts whose result is still awaited; mark the others as done."""
        awaited = []
        for attempt in attempts:
            if attempt.state in (_QUEUED, _IN_FLIGHT):
                awaited.append(attempt)
            else:
                self.end(attempt)
        return awaited

    def abandon(self, attempt: Attempt) -> None:
        """Mark an attempt in flight as abandoned: its result is not awaited any more."""
        assert attempt.state is _IN_FLIGHT
        attempt.state = AttemptState.ABANDONED

    def take_queued(self, deployment: Deployment) -> list[Attempt]:
        """End all attempts that are queued for a deployment, and return them."""
        taken = self.queue.of_deployment(deployment)
        for attempt in taken:
            self.end(attempt)
        return taken

    def take_newest(self) -> Attempt | None:
        """End the attempt of the newest request of the flow with most waiting, and return it."""
        newest = self.queue.newest_of_largest()
        if newest is not None:
            self.end(newest)
        return newest

    def end(self, attempt: Attempt, state: AttemptState = AttemptState.DONE) -> bool:
        """Remove an attempt from all counts, once; return whether its result was still awaited."""
        before = attempt.state
        if before in (AttemptState.DONE, AttemptState.WITHDRAWN):
            return False
        if before is _QUEUED:
            self._count_waiting(attempt, -1)
            self.queue.remove(attempt)
        attempt.state = state
        attempt.batch = None
        self.outstanding[attempt.deployment] -= 1
        return before is not AttemptState.ABANDONED

    def _count_waiting(self, attempt: Attempt, number: int) -> None:
        self.waiting += number
        if not attempt.deployment.quota.is_limited:
            return
        key = attempt.deployment, attempt.flow.tier
        attempts, tokens = self._waiting_of.get(key, (0, 0))
        self._waiting_of[key] = attempts + number, tokens + number * attempt.tokens

    def waiting_before(self, deployment: Deployment, tier: Tier) -> tuple[int, int]:
        """Return the attempts, and their tokens, that wait for a deployment before one of a tier.

        Attempts of worse tiers leave later.
        """
        attempts = tokens = 0
        for better in TIERS[: TIERS.index(tier) + 1]:
            of_tier = self._waiting_of.get((deployment, better), (0, 0))
            attempts, tokens = attempts + of_tier[0], tokens + of_tier[1]
        return attempts, tokens

    def move(self, attempt: Attempt, flow: Flow) -> None:
        """Put an attempt at the end of another flow, if it is in the queue."""
        if self.queue.remove(attempt):
            self._count_waiting(attempt, -1)
            attempt.flow = flow
            self._count_waiting(attempt, 1)
            self.queue.add(attempt)
