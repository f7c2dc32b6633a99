"""Behaviours of providers of the simulation, with or without faults.

A behaviour is a function of a call. It returns the seconds and the result: None for good vectors,
`OtherWidth` for vectors of a wrong width, or the exception to raise. A third value, True, means
that the call cannot be cancelled.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.domain import Call
from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderUnavailable,
    Throttled,
)
from tests.dispatch.virtual import World

Verdict = tuple[float, Any] | tuple[float, Any, bool]
Behaviour = Callable[[World, Call], Verdict]
POISON = "poison"  # every provider refuses an item with this text with 400
FOREVER = float("inf")


@dataclass(frozen=True)
class OtherWidth:
    """A result: vectors of this width."""

    width: int


def good(seconds: float = 0.05, seconds_an_item: float = 0.0) -> Behaviour:
    def behaviour(world: World, call: Call) -> Verdict:
        return (seconds + seconds_an_item * len(call.items)) * world.rng.uniform(0.8, 1.2), None

    return behaviour


def failing(rate: float, seconds: float = 0.05) -> Behaviour:
    """Some calls get a 503."""
    return lambda world, call: (
        seconds,
        ProviderUnavailable("failed with 503") if world.rng.random() < rate else None,
    )


def dead(world: World, call: Call) -> Verdict:
    """Refuse connections, as if no process listened on the port."""
    return 0.0005, ConnectionFailed("could not be reached")


def silent(world: World, call: Call) -> Verdict:
    """Accept and never answer."""
    return FOREVER, None


def refusing(world: World, call: Call) -> Verdict:
    """Refuse the key."""
    return 0.02, CredentialsRefused("refused our credentials (401)")


def lying(world: World, call: Call) -> Verdict:
    """Answer without a vector for each input."""
    return 0.05, BrokenContract(f"answered {len(call.items) - 1} vectors")


def throttling(per_second: float, retry_after: float | None = None) -> Behaviour:
    """Answer 429 above a rate of calls per second."""
    recent: deque[float] = deque()

    def behaviour(world: World, call: Call) -> Verdict:
        while recent and recent[0] <= world.now - 1:
            recent.popleft()
        if len(recent) >= per_second:
            return 0.005, Throttled("asked us to slow down (429)", retry_after=retry_after)
        recent.append(world.now)
        return 0.05, None

    return behaviour


def flapping(up: float, down: float, then: Behaviour = dead, offset: float = 0.0) -> Behaviour:
    """Alternate between good answers and failures."""
    well = good()

    def behaviour(world: World, call: Call) -> Verdict:
        is_up = (world.now + offset) % (up + down) < up
        return (well if is_up else then)(world, call)

    return behaviour


def engine(
    capacity: Callable[[float], int], seconds: Callable[[int], float] = lambda items: 0.05
) -> Behaviour:
    """Compute so many calls at once, by the time; the others wait, in order.

    ``seconds`` are those of a call, by its items.
    """
    ends: list[float] = []  # of the calls that are computed

    def behaviour(world: World, call: Call) -> Verdict:
        begins, at_once = world.now, capacity(world.now)
        ends[:] = sorted(end for end in ends if end > world.now)
        if len(ends) >= at_once:
            begins = ends[-at_once]
        ends.append(begins + seconds(len(call.items)) * world.rng.uniform(0.7, 1.3))
        return ends[-1] - world.now, None

    return behaviour


def between(start: float, stop: float, ill: Behaviour, otherwise: Behaviour) -> Behaviour:
    """Fail between two times."""

    def behaviour(world: World, call: Call) -> Verdict:
        return (ill if start <= world.now < stop else otherwise)(world, call)

    return behaviour
