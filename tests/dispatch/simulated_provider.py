"""A provider of the simulation, which embeds in virtual time as its behaviour says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.concurrency.deadline import Deadline
from app.domain import Call, Item, Vectors
from app.errors import BrokenContract, Rejected
from app.providers.base import Capabilities
from app.simulation.provider import wait_for_answer
from app.tokens.counting import share, weigh
from tests.dispatch.internals import tokens_expected
from tests.dispatch.members import FOREVER, POISON, Behaviour, OtherWidth, Verdict
from tests.dispatch.rows import WIDTH, row
from tests.dispatch.virtual import World


@dataclass(eq=False)
class Seen:
    """A call as the provider saw it."""

    items: Sequence[Item]
    began: float
    model: str = ""
    input_type: str | None = None
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
        seen = Seen(call.items, world.now, call.model, call.input_type)
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
            weigh(item) // self.bytes_per_token if isinstance(item, str) else len(item)
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
        if limits.max_tokens and size > 1 and tokens > limits.max_tokens:
            wrong.append(f"{label}: {size} items of {tokens} tokens, of {limits.max_tokens}")
