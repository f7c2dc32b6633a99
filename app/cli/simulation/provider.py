"""Providers in virtual time: their calls take as long as the load says, and never fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from app.cli.simulation.load import ProviderLoad
from app.cli.simulation.world import Wait, World
from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.domain import Call, Vectors
from app.errors import ProviderTimeout
from app.providers.base import Capabilities, Provider, WireFormat
from app.tokens.counting import BYTES_PER_TOKEN, weigh

_ROW = b"\x00\x00\x80?"  # a vector of width 1


@dataclass(frozen=True, slots=True)
class CallSeconds:
    """How long a call takes: a sum of what it, each text and 1,000 tokens take."""

    a_call: float
    a_text: float
    a_1000_tokens: float
    is_assumed: bool = False  # by the kind of the provider

    def total(self, texts: int, tokens: int) -> float:
        """Return the seconds of a call of so many texts and tokens."""
        return self.a_call + self.a_text * texts + self.a_1000_tokens * tokens / 1000

    def __str__(self) -> str:
        terms = (
            (self.a_call, ""),
            (self.a_text, " a text"),
            (self.a_1000_tokens, " a 1,000 tokens"),
        )
        text = " + ".join(f"{seconds:g} s{of}" for seconds, of in terms if seconds) or "0 s"
        return text + " (assumed)" * self.is_assumed


#: Assumed where the load says nothing: of the embedded model, and of a service over the network.
_OF_LOCAL = CallSeconds(0.0005, 0.0001, 0.0005, is_assumed=True)
_OF_OTHERS = CallSeconds(0.1, 0.001, 0.002, is_assumed=True)


def call_seconds(settings: ProviderSettings, said: ProviderLoad | None) -> CallSeconds:
    """Return how long the calls of a provider take: as the load says, else as is assumed."""
    if said is not None:
        given = said.seconds_a_call, said.seconds_a_text, said.seconds_a_1000_tokens
        if any(value is not None for value in given):
            a_call, a_text, a_1000_tokens = (value or 0.0 for value in given)
            return CallSeconds(a_call, a_text, a_1000_tokens)
    return _OF_LOCAL if settings.kind == "local" else _OF_OTHERS


@dataclass(slots=True)
class EndedCall:
    """A call to a provider, and the texts that it embedded: none where the call was cut."""

    started_at: float
    ended_at: float
    texts: Mapping[str, int]


class SimulatedProvider:
    """A provider with the limits of ``real``, which is never called."""

    def __init__(self, world: World, real: WireFormat | Provider, seconds: CallSeconds) -> None:
        self.capabilities = real.capabilities
        self.seconds = seconds
        self.calls: list[EndedCall] = []
        self._world = world
        self._real = real

    def limits(self, model: str) -> Capabilities:
        return self._real.limits(model)

    def load(self) -> None:
        """Do nothing: nothing is loaded."""

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        tokens = [weigh(item) // BYTES_PER_TOKEN for item in call.items]
        started_at, embedded = self._world.now, Counter[str]()
        try:
            wait_for_answer(self._world, self.seconds.total(len(tokens), sum(tokens)), deadline)
            embedded.update(map(str, call.items))
        finally:
            self.calls.append(EndedCall(started_at, self._world.now, embedded))
        return Vectors([_ROW] * len(tokens), tokens)


def wait_for_answer(world: World, seconds: float, deadline: Deadline) -> None:
    """Wait as the transport does: until a time or the deadline, or a cancellation."""
    end = world.now + seconds
    while world.now < end:
        if deadline.remaining() <= 0:
            raise ProviderTimeout("did not answer in time")
        wait = Wait(world)
        deadline.on_cancel(wait.wake)
        world.pause(min(end, deadline.at) - world.now, wait)
