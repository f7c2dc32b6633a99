"""What the simulations know of the inside of dispatch: the one module that changes with it.

`leftovers` looks at private state after a simulation has come to its end; `WatchedDispatcher` looks
at it on the way. Everything else in this folder that simulates goes by the public surface.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from app.dispatch import Dispatcher
from app.dispatch.batch import Batch
from app.dispatch.deployment import Deployment
from app.dispatch.plan import Expected, TokenEstimate
from app.dispatch.sender import Sender
from app.domain import Item
from app.pipeline import Pipeline
from tests.dispatch.virtual import World

#: Seconds after which no ejection, rest or quota window may still hold a deployment back.
FORGOTTEN = 700.0


class WatchedSender(Sender):
    """The real sender, watched: an ejected deployment gets one probe at a time."""

    world: World
    probes: dict[Deployment, int]
    first_calls: dict[str, int]  # parts that were sent for the first time, by model

    def _call(self, batch: Batch) -> Batch | None:
        deployment = batch.deployment
        model = self._pool_of[deployment].model
        self.first_calls[model] += sum(
            a.is_first and a.call_started_at is None for a in batch.attempts
        )
        self.probes[deployment] += batch.is_probe
        if self.probes[deployment] > 1 and not self._pool_of[deployment].is_alone:
            self.world.wrong.append(f"{deployment.label}: {self.probes[deployment]} probes at once")
        try:
            return super()._call(batch)
        finally:
            self.probes[deployment] -= batch.is_probe


class WatchedDispatcher(Dispatcher):
    """The real dispatcher over a watched sender."""

    def __init__(self, world: World, *args: Any, **options: Any) -> None:
        super().__init__(*args, rng=world.rng, **options)
        self._sender.__class__ = WatchedSender
        self._sender.world, self._sender.probes = world, defaultdict(int)
        self.first_calls = self._sender.first_calls = defaultdict(int)


def leftovers(dispatcher: Dispatcher, pipeline: Pipeline, now: float) -> list[str]:
    """What should be gone once every request has ended and no call is in flight; a line each."""
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
    """Requests that have left a queue, and whose texts it still holds."""
    held = {
        deployment.name: sum(
            len(queue) for queue in deployment.queue._attempts.groups._groups.values()
        )
        for _, deployment in dispatcher.deployments()
    }
    return [f"{name}: its queue still holds {count} parts" for name, count in held.items() if count]


def tokens_expected(items: Sequence[Item]) -> int:
    """Tokens that dispatch takes items for, before a provider has counted them."""
    return sum(TokenEstimate().expect(items))
