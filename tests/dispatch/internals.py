"""Access to private state of dispatch, for simulations: only this module depends on it.

`leftovers` reads it after a simulation has ended, `WatchedDispatcher` during a simulation. All
other simulation code in this folder uses public names only.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from app.dispatch import Dispatcher
from app.dispatch.attempt import Attempt
from app.dispatch.batch import Batch
from app.dispatch.deployment import Deployment
from app.dispatch.plan import Expected, TokenEstimate
from app.dispatch.sender import Sender
from app.domain import Item
from app.pipeline import Pipeline
from tests.dispatch.virtual import World

#: Seconds after which no ejection, rest or quota window may still exclude a deployment.
FORGOTTEN = 700.0
#: Seconds from the start of a probe after which it counts as lost, and another one is sent: a
#: minute from when it was submitted.
LOST_AFTER_S = 59.0


class WatchedSender(Sender):
    """The real sender; it checks that an ejected deployment gets one call at a time."""

    world: World
    probes: dict[tuple[Deployment, int], list[float]]  # starts of calls, by ejection
    first_calls: dict[str, int]  # parts that were sent for the first time, by model

    def _call(self, batch: Batch) -> Batch | None:
        deployment = batch.deployment
        model = self._pool_of[deployment].model
        self.first_calls[model] += sum(
            a.is_first and a.call_started_at is None for a in batch.attempts
        )
        started_at = self.world.now
        calls = self.probes[deployment, deployment.health.ejections_ever]
        if not self._is_call_to_ejected(batch):
            return super()._call(batch)
        calls.append(started_at)
        number = sum(at > started_at - LOST_AFTER_S for at in calls)
        if number > 1 and not self._is_for_only_one(batch):
            self.world.wrong.append(f"{deployment.label}: {number} calls at once while ejected")
        try:
            return super()._call(batch)
        finally:
            calls.remove(started_at)

    def _is_for_only_one(self, batch: Batch) -> bool:
        """Whether no other deployment may take one of its requests: then it is called anyway."""

        def takes(deployment: Deployment, attempt: Attempt) -> bool:
            is_text = isinstance(attempt.call.items[0], str)
            return deployment.can_serve(attempt.wanted) and (is_text or deployment.takes_tokens)

        deployments = self._pool_of[batch.deployment].deployments
        return any(sum(takes(d, a) for d in deployments) == 1 for a in batch.attempts)

    @staticmethod
    def _is_call_to_ejected(batch: Batch) -> bool:
        """Whether an ejected deployment was chosen for a request; space checks call it, too.

        An attempt that was submitted before the ejection, or the last probe, may start after it.
        """
        health = batch.deployment.health
        return health.is_ejected and any(
            not attempt.is_space_check and attempt.queued_at >= health._ejected_at
            for attempt in batch.attempts
        )


class WatchedDispatcher(Dispatcher):
    """The real dispatcher with a `WatchedSender`."""

    def __init__(self, world: World, *args: Any, **options: Any) -> None:
        super().__init__(*args, rng=world.rng, **options)
        self._sender.__class__ = WatchedSender
        self._sender.world, self._sender.probes = world, defaultdict(list)
        self.first_calls = self._sender.first_calls = defaultdict(int)


def leftovers(dispatcher: Dispatcher, pipeline: Pipeline, now: float) -> list[str]:
    """List state that is left although no request and no call is in flight, one line each."""
    left = []
    for _, deployment in dispatcher.deployments():
        queue, label = deployment.queue, deployment.label
        counts = {
            "requests counted as waiting": queue.waiting,
            "parts outstanding": queue.outstanding(deployment),
            "slots taken at its provider": queue.slots - queue.free,
            "of its own slots taken": queue._calls.get(deployment, 0),
            "batches open for additions": len(queue._open),
            "calls in flight": deployment.standing.in_flight,
            "probes in flight": int(deployment.health.is_probing),
        }
        left += [f"{label}: {count} {what} are left" for what, count in counts.items() if count]
        if not deployment.health.may_serve(now + FORGOTTEN):
            left.append(f"{label} may not serve {FORGOTTEN:g} s after the end")
        if deployment.quota_wait(Expected(0, 0), now + FORGOTTEN):
            left.append(f"{label}: its quota is taken {FORGOTTEN:g} s after the end")
    loads = len(pipeline._flights._loads)
    return [*left, f"{loads} items are left in the single flight"] if loads else left


def kept_in_vain(dispatcher: Dispatcher) -> list[str]:
    """Count requests that have left a queue although it still holds their texts."""
    held = {
        deployment.name: sum(
            tier.waiting for tier in deployment.queue._attempts.queue._tiers.values()
        )
        for _, deployment in dispatcher.deployments()
    }
    return [f"{name}: its queue still holds {count} parts" for name, count in held.items() if count]


def tokens_expected(items: Sequence[Item]) -> int:
    """Return the tokens that dispatch expects of items, before a provider has counted them."""
    return sum(TokenEstimate().expect(items))
