"""Access to private state of dispatch, for simulations: only this module depends on it.

`leftovers` reads it after a simulation has ended, `WatchedDispatcher` during a simulation. All
other simulation code in this folder uses public names only.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from app.dispatch import Dispatcher
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.deployments.pool import Pool
from app.dispatch.deployments.token_estimate import Expected, TokenEstimate
from app.dispatch.job.job import Job
from app.dispatch.queue.batch import Batch
from app.dispatch.queue.slot_queue import SlotQueue
from app.dispatch.sending.sender import Sender
from app.domain import Flow, Item, Source, Tier
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
            a.earns_retry and a.call_started_at is None for a in batch.attempts
        )
        started_at = self.world.now
        calls = self.probes[deployment, deployment.breaker.ejections_ever]
        if not self._is_call_to_ejected(batch) or self._is_for_only_one(batch):
            return super()._call(batch)
        calls.append(started_at)
        number = sum(at > started_at - LOST_AFTER_S for at in calls)
        if number > 1:
            self.world.wrong.append(f"{deployment.label}: {number} calls at once while ejected")
        try:
            return super()._call(batch)
        finally:
            calls.remove(started_at)

    def _is_for_only_one(self, batch: Batch) -> bool:
        """Whether no other deployment may take one of its requests: then it is called anyway."""
        jobs = [getattr(attempt.on_result, "__self__", None) for attempt in batch.attempts]
        return any(isinstance(j, Job) and len(j._state._starter._suitable) == 1 for j in jobs)

    @staticmethod
    def _is_call_to_ejected(batch: Batch) -> bool:
        """Whether an ejected deployment was chosen for a request; background calls use it, too.

        An attempt that was submitted before the ejection, or the last probe, may start after it.
        """
        breaker = batch.deployment.breaker
        return breaker.is_ejected and any(
            not attempt.is_background
            # One that was submitted at the moment of the ejection was submitted before it.
            and (attempt.is_probe or attempt.queued_at > breaker._tested_at)
            for attempt in batch.attempts
        )


class WatchedPool(Pool):
    """The real pool; it checks that no request finds a queue full in which others have more."""

    world: World

    def is_full(
        self,
        now: float,
        expected: Expected,
        suitable: Sequence[Deployment],
        longest_wait_s: float = 0.0,
    ) -> bool:
        result = super().is_full(now, expected, suitable, longest_wait_s)
        for deployment in suitable:
            if not deployment.queue.has_room(expected.flow):
                self._check_full(deployment.queue, expected.flow)
        return result

    def _check_full(self, queue: SlotQueue, flow: Flow) -> None:
        waiting = Counter[tuple[Tier, str]]()
        shares = {(flow.tier, flow.key): flow.share}
        for tier in queue._attempts.queue._tiers.values():
            for attempt in tier.attempts():
                key = attempt.flow.tier, attempt.flow.key
                waiting[key] += 1
                shares.setdefault(key, attempt.flow.share)
        own = (waiting[flow.tier, flow.key] + 1) / flow.share
        if any(number / shares[key] > own for key, number in waiting.items()):
            self.world.wrong.append(f"full for {flow}, although others wait more: {waiting}")


class WatchedDispatcher(Dispatcher):
    """The real dispatcher with a `WatchedSender` and `WatchedPool`s."""

    def __init__(self, world: World, *args: Any, **options: Any) -> None:
        super().__init__(*args, rng=world.rng, **options)
        self._sender.__class__ = WatchedSender
        self._sender.world, self._sender.probes = world, defaultdict(list)
        for pool in self._pools.values():
            pool.__class__, pool.world = WatchedPool, world
        self.first_calls = self._sender.first_calls = defaultdict(int)


def start_early_at_once(dispatcher: Dispatcher, world: World) -> None:
    """Let calls that start early begin before their caller goes on, as under gevent."""
    dispatcher._sender._start_now = world.start_now


def sleep_in_virtual_time(dispatcher: Dispatcher, world: World) -> None:
    """Let background calls wait for a slot in virtual time."""
    dispatcher.background_calls._sleep = lambda seconds: world.pause(seconds)


def leftovers(dispatcher: Dispatcher, pipeline: Pipeline, now: float) -> list[str]:
    """List state that is left although no request and no call is in flight, one line each."""
    left = []
    for _, deployment in dispatcher.deployments():
        queue, label = deployment.queue, deployment.label
        counts = {
            "requests counted as waiting": queue.waiting,
            "parts outstanding": queue.outstanding(deployment),
            "slots taken at its provider": queue.slots - queue.free,
            "of its own slots taken": queue._leaving.calls.get(deployment, 0),
            "jobs before its full queue": len(queue.room_waiters._wakes),
            "batches open for additions": len(queue._open),
            "calls in flight": deployment.standing.in_flight,
            "probes in flight": int(deployment.breaker.is_probing),
        }
        left += [f"{label}: {count} {what} are left" for what, count in counts.items() if count]
        left += [f"{label}: {line}" for line in _left_in_flows(queue)]
        if not deployment.breaker.may_be_called(now + FORGOTTEN):
            left.append(f"{label} may not serve {FORGOTTEN:g} s after the end")
        if deployment.quota_wait_s(Expected(0, 0), now + FORGOTTEN):
            left.append(f"{label}: its quota is taken {FORGOTTEN:g} s after the end")
    loads = len(pipeline._flights._loads)
    return [*left, f"{loads} items are left in the single flight"] if loads else left


def _left_in_flows(queue: SlotQueue) -> list[str]:
    attempts = queue._attempts
    tiers = attempts.queue._tiers.items()
    left = [
        f"flows {list(tier.members)} of {name} are left" for name, tier in tiers if tier.members
    ]
    waiting = [count for count in attempts._waiting_of.values() if count != (0, 0)]
    return left + [f"{waiting} are counted as waiting in a tier"] * bool(waiting)


def kept_in_vain(dispatcher: Dispatcher) -> list[str]:
    """Count requests that have left a queue although it still holds their texts."""
    held = {
        deployment.provider_name: sum(
            tier.waiting for tier in deployment.queue._attempts.queue._tiers.values()
        )
        for _, deployment in dispatcher.deployments()
    }
    return [f"{name}: its queue still holds {count} parts" for name, count in held.items() if count]


def tokens_expected(items: Sequence[Item]) -> int:
    """Return the tokens that dispatch expects of items, before a provider has counted them."""
    return sum(TokenEstimate().expect(items))


def unpaid(dispatcher: Dispatcher) -> Counter[Source]:
    """Return the tokens, by deployment, that later requests would pay for."""
    left = Counter[Source]()
    for pool in dispatcher._pools.values():
        for tokens in pool.unpaid._of_key.values():
            left.update(tokens)
    return left
