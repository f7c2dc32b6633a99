"""When the workers of the search begin and end: in some arrangements one is replaced by another.

Drawn from random numbers of their own, so that a seed keeps the rest of its arrangement.
"""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.dispatch.arrangement import Arrangement

#: Limits of a deployment of which each worker has a fixed share, whether all of them run or not.
SHARED = {"concurrency", "requests_per_minute", "tokens_per_minute"}
READY_S = 0.05  # seconds from the start of a worker until its first request


@dataclass(frozen=True)
class Lifetime:
    """When a worker starts, and when it stops; in seconds since the start of the simulation.

    One that stops gets no more requests, and ends with its last call.
    """

    starts_at: float = 0.0
    stops_at: float = float("inf")

    def serves(self, at: float) -> bool:
        """Return whether the worker may get a request that is made ``at``."""
        return (self.starts_at == 0 or self.starts_at + READY_S <= at) and at < self.stops_at


def draw_lifetimes(made: "Arrangement", workers: int, length: float) -> list[Lifetime]:
    """Return the lifetimes of all workers of an arrangement, with requests for ``length`` seconds.

    Of two workers the second may be replaced, as at a reload, where no worker has a share of its
    own. The first one serves administrators, too.
    """
    dice = random.Random(f"lifetimes of {made.seed}")
    deployments = [d for of_model in made.models.values() for d in of_model]
    has_shares = any(SHARED & set(deployment) for deployment in deployments)
    if workers == 1 or has_shares or dice.random() < 0.3:
        return [Lifetime()] * workers
    for provider in made.providers.values():  # more slots than workers, and all of them are used
        provider.settings["concurrency"] = dice.choice([4, 6, 8])
    at = dice.uniform(0.0, length)
    return [Lifetime(), Lifetime(stops_at=at), Lifetime(max(READY_S, at + dice.uniform(-0.1, 0.1)))]
