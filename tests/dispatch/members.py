"""Providers of the simulation, which embed in virtual time, with or without faults.

A behaviour is a function of a call. It returns the seconds and the result: None for good vectors,
`OtherWidth` for vectors of a wrong width, or the exception to raise. A third value, True, means
that the call cannot be cancelled.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.simulation.provider import wait_for_answer
from app.concurrency.deadline import Deadline
from app.domain import Call, Item, Vectors
from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from app.providers.base import Capabilities
from app.tokens.counting import share, weigh
from tests.dispatch.internals import tokens_expected
from tests.dispatch.rows import WIDTH, row
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


@dataclass(eq=False)
class Seen:
    """A call as the provider saw it."""

    items: Sequence[Item]
    began: float
    model: str = ""
    input_type: str | None = None
    user: str | None = None
    ended: float = FOREVER
    error: BaseException | None = None
    total: int = 0  # tokens billed
    cut: bool = False  # cancelled, or past its deadline, when it ended

    @property
    def good(self) -> bool:
        """Whether its vectors were good."""
        return self.error is None and not self.cut and self.ended < FOREVER


@dataclass
class Limits:
    """Limits of one call or of concurrent calls; None: no limit."""

    concurrency: int | None = None
    max_inputs: int | None = None
    max_tokens: int | None = None
    max_item_tokens: int | None = None  # as `item_tokens` counts them


class Member:
    """A provider that records calls over a limit as violations."""

    def __init__(
        self,
        world: World,
        name: str,
        behaviour: Behaviour,
        takes: Capabilities | None = None,
        bytes_per_token: int = 4,
    ) -> None:
        self.world, self.name, self.behaviour = world, name, behaviour
        self.capabilities = takes or Capabilities()
        self.bytes_per_token = bytes_per_token
        self.refuses_over: int | None = None  # tokens of one call
        self.item_tokens: Callable[[str], int] | None = None  # of a text: the model's tokenizer
        self.seen: list[Seen] = []
        self.under_way: Counter[str] = Counter()  # calls, by model of the provider
        self.slots = 0  # set by the simulation; 0: not checked
        self.at_most: dict[str, Limits] = {}  # by model of the provider, likewise

    def limits(self, model: str) -> Capabilities:
        return self.capabilities

    def load(self) -> None:
        pass

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        world = self.world
        seen = Seen(call.items, world.now, call.model, call.input_type, call.user)
        self.seen.append(seen)
        self.under_way[call.model] += 1
        self._look(call)
        try:
            seconds, result, *deaf = self._verdict(call)
            self._pause(seconds, deadline, deaf == [True])
            if isinstance(result, BaseException):
                raise result
            width = self._width(call, result)
        except BaseException as raised:
            seen.error = raised
            raise
        finally:
            seen.ended = world.now
            seen.cut = deadline.remaining() <= 0
            self.under_way[call.model] -= 1
        weights = [weigh(item) for item in call.items]
        seen.total = self.tokens(call.items) + world.rng.randrange(5)
        rows = [row(item, call.input_type, width) for item in call.items]
        return Vectors(rows, share(seen.total, weights))

    def tokens(self, items: Sequence[Item]) -> int:
        """Return the tokens that the provider counts; some items have random numbers."""
        return sum(
            -(-weigh(item) // self.bytes_per_token) if isinstance(item, str) else len(item)
            for item in items
        )

    def least_tokens(self, items: Sequence[Item]) -> int:
        """Return the least tokens that dispatch can expect: by bytes, or as counted."""
        rule_of_thumb = sum(weigh(i) // 4 if isinstance(i, str) else len(i) for i in items)
        return min(self.tokens(items), tokens_expected(items), rule_of_thumb)

    @staticmethod
    def _width(call: Call, result: Any) -> int:
        """Return the width of the vectors; a wrong one raises as in the real adapters."""
        width = result.width if isinstance(result, OtherWidth) else call.dimensions or WIDTH
        if call.width is not None and width != call.width:
            raise BrokenContract(f"answered a vector {width} wide instead of {call.width}")
        return width

    def _verdict(self, call: Call) -> Verdict:
        verdict = self.behaviour(self.world, call)
        if verdict[1] is None and any(POISON in str(item) for item in call.items):
            return 0.01, Rejected("your input is invalid")
        if verdict[1] is None and self.refuses_over and len(call.items) > 1:
            tokens = self.tokens(call.items)
            if tokens > self.refuses_over:
                text = f"Requested {tokens} tokens, max {self.refuses_over} tokens per request"
                return 0.01, Rejected(text, too_large=True)
        return verdict

    def _pause(self, seconds: float, deadline: Deadline, deaf: bool) -> None:
        """Wait as the transport does: until a time or the deadline, or a cancellation."""
        if deaf:
            self.world.pause(seconds)
        else:
            wait_for_answer(self.world, seconds, deadline)

    def _look(self, call: Call) -> None:
        """Record violations."""
        wrong, limits = self.world.wrong, self.at_most.get(call.model, Limits())
        label, calls = f"{self.name}/{call.model}", sum(self.under_way.values())
        if self.slots and calls > self.slots:
            wrong.append(f"{self.name}: {calls} calls at once, of {self.slots}")
        at_once, size = self.under_way[call.model], len(call.items)
        if limits.concurrency and at_once > limits.concurrency:
            wrong.append(f"{label}: {at_once} calls at once, of {limits.concurrency}")
        if limits.max_inputs and size > limits.max_inputs:
            wrong.append(f"{label}: {size} items at once, of {limits.max_inputs}")
        tokens = self.least_tokens(call.items)
        for item in call.items if limits.max_item_tokens and self.item_tokens else ():
            length = self.item_tokens(item) if isinstance(item, str) else len(item)
            if length > limits.max_item_tokens:
                wrong.append(f"{label}: an item of {length} tokens, of {limits.max_item_tokens}")
        if limits.max_tokens and size > 1 and tokens > limits.max_tokens:
            wrong.append(f"{label}: {size} items of {tokens} tokens, of {limits.max_tokens}")
