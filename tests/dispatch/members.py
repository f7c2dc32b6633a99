"""Providers of the simulation: each embeds in virtual time, well or in a way of its own.

A behaviour is asked about each call and says how long it takes and what comes of it: None for good
vectors, or the `ProviderError` that the real transport would have raised.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.deadline import Deadline
from app.dispatch.plan import expected_tokens
from app.domain import Call, Item, Vectors
from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers.base import Capabilities
from app.usage.share import share, weigh
from tests.dispatch.virtual import Wait, World

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment

Verdict = tuple[float, ProviderError | None]
Behaviour = Callable[[World, Call], Verdict]
POISON = "poison"  # an item with this in it is refused with 400 by everybody
FOREVER = float("inf")


def row(item: Item) -> bytes:
    """The vector that everybody has for an item."""
    return hashlib.blake2b(repr(item).encode(), digest_size=16).digest()


def good(seconds: float = 0.05) -> Behaviour:
    return lambda world, call: (seconds * world.rng.uniform(0.8, 1.2), None)


def failing(rate: float, seconds: float = 0.05) -> Behaviour:
    """Some calls meet a 503."""
    return lambda world, call: (
        seconds,
        ProviderUnavailable("failed with 503") if world.rng.random() < rate else None,
    )


def dead(world: World, call: Call) -> Verdict:
    """Nobody listens there."""
    return 0.0005, ConnectionFailed("could not be reached")


def silent(world: World, call: Call) -> Verdict:
    """Accepts and never answers."""
    return FOREVER, None


def refusing(world: World, call: Call) -> Verdict:
    """Our key is wrong there."""
    return 0.02, CredentialsRefused("refused our credentials (401)")


def lying(world: World, call: Call) -> Verdict:
    """Answers, but not with a vector for each input."""
    return 0.05, BrokenContract(f"answered {len(call.items) - 1} vectors")


def throttling(per_second: float, retry_after: float | None = None) -> Behaviour:
    """So many calls a second, then 429."""
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
    """Well for a while, not well for a while, for ever."""
    well = good()

    def behaviour(world: World, call: Call) -> Verdict:
        is_up = (world.now + offset) % (up + down) < up
        return (well if is_up else then)(world, call)

    return behaviour


def between(start: float, stop: float, ill: Behaviour, otherwise: Behaviour) -> Behaviour:
    """Ill from one moment to another."""

    def behaviour(world: World, call: Call) -> Verdict:
        return (ill if start <= world.now < stop else otherwise)(world, call)

    return behaviour


@dataclass(eq=False)
class Seen:
    """A call as the provider saw it."""

    items: Sequence[Item]
    began: float
    ended: float = FOREVER
    error: ProviderError | None = None
    total: int = 0  # tokens billed


class Member:
    """A provider, and what it notices: calls over a limit are noted as wrong."""

    def __init__(
        self, world: World, name: str, behaviour: Behaviour, takes: Capabilities | None = None
    ) -> None:
        self.world, self.name, self.behaviour = world, name, behaviour
        self.capabilities = takes or Capabilities()
        self.seen: list[Seen] = []
        self.under_way: Counter[str] = Counter()  # calls, by model of the provider
        self.slots = 0  # set by who knows; 0: not looked at
        self.deployments: dict[str, Deployment] = {}  # by model of the provider, likewise

    def limits(self, model: str) -> Capabilities:
        return self.capabilities

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        world, seen = self.world, Seen(call.items, self.world.now)
        self.seen.append(seen)
        self.under_way[call.model] += 1
        self._look(call)
        try:
            seconds, error = self._verdict(call)
            self._pause(seconds, deadline)
            if error is not None:
                raise error
        except ProviderError as raised:
            seen.error = raised
            raise
        finally:
            seen.ended = world.now
            self.under_way[call.model] -= 1
        weights = [weigh(item) for item in call.items]
        seen.total = sum(weights) // 4 + world.rng.randrange(5)
        return Vectors([row(item) for item in call.items], share(seen.total, weights))

    def _verdict(self, call: Call) -> Verdict:
        seconds, error = self.behaviour(self.world, call)
        if error is None and any(POISON in str(item) for item in call.items):
            return 0.01, Rejected("your input is invalid")
        return seconds, error

    def _pause(self, seconds: float, deadline: Deadline) -> None:
        """As the transport does: until then, or the deadline, which may move or be cancelled."""
        world, end = self.world, self.world.now + seconds
        while world.now < end:
            if deadline.remaining() <= 0:
                raise ProviderTimeout("did not answer in time")
            wait = Wait(world)
            deadline.on_cancel(wait.wake)
            world.pause(min(end, deadline.at) - world.now, wait)

    def _look(self, call: Call) -> None:
        """Note what should not be."""
        wrong, deployment = self.world.wrong, self.deployments.get(call.model)
        calls = sum(self.under_way.values())
        if self.slots and calls > self.slots:
            wrong.append(f"{self.name}: {calls} calls at once, of {self.slots}")
        if deployment is None:
            return
        at_once = self.under_way[call.model]
        if deployment.concurrency and at_once > deployment.concurrency:
            wrong.append(f"{deployment.label}: {at_once} calls at once")
        tokens = sum(expected_tokens(call.items))
        if not deployment.takes(len(call.items), tokens) and len(call.items) > 1:
            wrong.append(f"{deployment.label}: {len(call.items)} items of {tokens} tokens at once")
