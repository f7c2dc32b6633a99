"""Runs a load on the dispatch of the proxy, in virtual time, with the settings of an operator.

What runs is `app.dispatch` and the limits of keys. There is no HTTP, no cache, and no failure of a
provider; how long a call takes depends on nothing but its size.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.cli.simulation.load import CallerLoad, Load
from app.cli.simulation.provider import SimulatedProvider, call_seconds
from app.cli.simulation.traffic import AnsweredRequest, FlowOf, SimulatedWorker, Traffic
from app.cli.simulation.world import World
from app.config import Settings
from app.dispatch import Dispatcher
from app.dispatch.quotas.shares import calls_of_worker
from app.domain import Caller, Flow
from app.limits.counters.memory import MemoryWindows
from app.limits.limiter import Limiter
from app.limits.pricing import Prices
from app.providers import registry

#: Share of the time whose requests do not count: first it must be learned how long calls take.
WARM_UP_SHARE = 0.1
#: Events after which a simulation is given up: one or two minutes of work.
MAX_EVENTS = 2_000_000
#: Maximum seconds from the wake-up of a thread to its running.
MAX_DELAY_S = 0.0005

#: Who is told apart in queues: keys by their shares and tiers; keys, all alike; nothing at all.
Sharing = Literal["configured", "equal keys", "one queue"]


class SimulationError(Exception):
    """A simulation has no result."""


@dataclass(frozen=True, slots=True)
class Run:
    """What has happened in a simulation. Times are in seconds of its clock."""

    load: Load
    settings: Settings
    starts_at: float  # after the warm-up
    ends_at: float
    requests: list[AnsweredRequest]
    providers: Mapping[str, SimulatedProvider]

    @property
    def seconds(self) -> float:
        """Seconds that count."""
        return self.ends_at - self.starts_at

    def slots(self, provider: str) -> int:
        """Return the slots of a provider, of all workers together."""
        workers = self.settings.workers
        return workers * calls_of_worker(self.settings.providers[provider].max_concurrency, workers)


def simulate(
    load: Load,
    settings: Settings,
    seconds: float,
    seed: int = 0,
    sharing: Sharing = "configured",
    max_events: int = MAX_EVENTS,
) -> Run:
    """Run a load for some seconds, and until all its requests have ended.

    The same seed gives the same run. Raises `SimulationError`.
    """
    with World(seed, MAX_DELAY_S).installed() as world:
        world.most_events = max_events
        providers = _providers(world, load, settings)
        workers = _workers(world, settings, providers, seed)
        traffic = Traffic(world, workers, settings, FLOWS[sharing], seed)
        starts_at, ends_at = world.now + seconds * WARM_UP_SHARE, world.now + seconds
        traffic.start(load.callers, ends_at)
        world.run()
        if world.wrong:
            raise SimulationError(
                f"the simulation was stopped: {world.wrong[0]}; try fewer seconds or requests"
            )
    return Run(load, settings, starts_at, ends_at, traffic.answered, providers)


def _providers(world: World, load: Load, settings: Settings) -> dict[str, SimulatedProvider]:
    """Make the providers that some deployment names."""
    used = {d.provider for model in settings.models.values() for d in model.deployments}
    return {
        name: SimulatedProvider(
            world, registry.describe(provider), call_seconds(provider, load.providers.get(name))
        )
        for name, provider in settings.providers.items()
        if name in used
    }


def _workers(
    world: World, settings: Settings, providers: Mapping[str, SimulatedProvider], seed: int
) -> list[SimulatedWorker]:
    """Make the workers; with ``LIMITS["url"]`` limits of keys are counted for all together.

    Quotas of deployments are not: without a store no worker gets a lease, only its share.
    """

    def clock() -> float:
        return world.now

    shared = MemoryWindows(1, clock) if settings.limits.url else None
    unleased = replace(settings, limits=replace(settings.limits, url=None))
    made = []
    for number in range(settings.workers):
        windows = shared or MemoryWindows(settings.workers, clock)
        counts_cached = settings.limits.count_cached_tokens
        limiter = Limiter(windows, Prices(settings.models), counts_cached, clock=clock)
        rng = random.Random(f"{seed} worker {number}")
        made.append(SimulatedWorker(Dispatcher(unleased, providers, rng), limiter))
    return made


def _configured(caller: Caller, load: CallerLoad) -> Flow:
    return caller.flow(load.tier, load.user)


def _equal(caller: Caller, load: CallerLoad) -> Flow:
    return Flow(caller.name)


def _single(caller: Caller, load: CallerLoad) -> Flow:
    return Flow(user="all")  # where a flow has a user, requests of all sizes are one


FLOWS: Mapping[Sharing, FlowOf] = {
    "configured": _configured,
    "equal keys": _equal,
    "one queue": _single,
}
