"""Random faults of providers, each for some time.

Each kind in `KINDS` makes a `Trouble` from random numbers. HTTP answers become errors by the code
for real providers, so that the simulation has the same errors.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain import Call
from app.errors import BrokenContract, ConnectionFailed, ProviderError
from app.providers.base import Incoming, WireFormat
from tests.dispatch.members import (
    Behaviour,
    OtherWidth,
    Verdict,
    dead,
    failing,
    flapping,
    good,
    silent,
)
from tests.dispatch.rows import WIDTH
from tests.dispatch.virtual import INJECTED, AbruptEnd, World


@dataclass(frozen=True)
class Trouble:
    """A behaviour, its description, and for how many seconds after its end it has effects."""

    words: str
    behaviour: Behaviour
    felt_after: float = 0.0


class Spans:
    """A behaviour for each span of time, and a good one between them.

    Times are seconds since the start of the simulation.
    """

    def __init__(
        self, spans: Sequence[tuple[float, float, Trouble]], otherwise: Behaviour, began: float
    ) -> None:
        self.spans, self._otherwise, self._began = spans, otherwise, began

    def __call__(self, world: World, call: Call) -> Verdict:
        now = world.now - self._began
        for start, stop, trouble in self.spans:
            if start <= now < stop:
                return trouble.behaviour(world, call)
        return self._otherwise(world, call)


class _AnyFormat(WireFormat):
    """A wire format for `refuse`, which is the same for almost all wire formats."""

    def build(self, call):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def parse(self, answer, call):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def answered(status: int, message: str = "", retry_after: float | None = None) -> ProviderError:
    """Return the error of an HTTP answer of a provider."""
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    body = b'{"error": {"message": "%s"}}' % message.encode()
    return _AnyFormat().refuse(Incoming(status, headers, body), ())


def answering(status: int, seconds: float, retry_after: float | None = None) -> Behaviour:
    """Answer every call with the same status."""
    message = "API version not supported" if status == 400 else ""
    return lambda world, call: (seconds, answered(status, message, retry_after))


def heavy_tailed(rate: float) -> Behaviour:
    """Let some calls take seconds instead of a fraction of one."""

    def behaviour(world: World, call: Call) -> Verdict:
        slow = world.rng.random() < rate
        return (world.rng.uniform(2.0, 8.0) if slow else world.rng.uniform(0.04, 0.06)), None

    return behaviour


def quota(calls: int, window: float) -> Behaviour:
    """Answer 429 after a number of calls in each window of time."""
    counted = {"window": -1, "calls": 0}

    def behaviour(world: World, call: Call) -> Verdict:
        number = int(world.now // window)
        if counted["window"] != number:
            counted.update(window=number, calls=0)
        counted["calls"] += 1
        if counted["calls"] > calls:
            return 0.01, answered(429, retry_after=(number + 1) * window - world.now)
        return 0.05, None

    return behaviour


def breaks_above(most: int, seconds: float = 0.2) -> Behaviour:
    """Fail when more than a number of calls are in flight."""
    ends: list[float] = []

    def behaviour(world: World, call: Call) -> Verdict:
        ends[:] = [end for end in ends if end > world.now]
        if len(ends) >= most:
            return 0.05, answered(503)
        ends.append(world.now + seconds)
        return seconds, None

    return behaviour


#: Exceptions that adapters should not raise, and that some raised.
BUGS: tuple[Callable[[str], BaseException], ...] = (
    ValueError,
    OverflowError,
    RecursionError,
    KeyError,
    SystemExit,
    AbruptEnd,
)


def buggy(bug: Callable[[str], BaseException], rate: float) -> Behaviour:
    """An adapter with a bug that some answers trigger."""
    return lambda world, call: (0.03, bug(INJECTED) if world.rng.random() < rate else None)


def deaf(seconds: float, result: ProviderError | None) -> Behaviour:
    """Calls that cannot be cancelled: they end late."""
    return lambda world, call: (seconds, result, True)


def _throttled(dice: random.Random) -> Trouble:
    rest = dice.choice([None, None, 0.5, 5.0, 30.0, 90.0])
    words = NO_REST if rest is None else f"answers 429, Retry-After {rest:g}"
    return Trouble(words, answering(429, 0.02, rest), rest or 0.0)


def _quota(dice: random.Random) -> Trouble:
    calls, window = dice.choice([1, 5, 20]), dice.choice([1.0, 10.0, 30.0])
    return Trouble(f"allows {calls} calls in {window:g} s", quota(calls, window), window)


def _bug(dice: random.Random) -> Trouble:
    bug, rate = dice.choice(BUGS), dice.choice([0.2, 1.0, 1.0])
    return Trouble(f"its adapter raises {bug.__name__} in {rate:.0%} of calls", buggy(bug, rate))  # type: ignore[attr-defined]


def _flapping(dice: random.Random) -> Trouble:
    name = dice.choice(["dead", "silent", "5xx", "liar", "credentials", "bug"])
    up, down = dice.uniform(0.5, 5), dice.uniform(0.5, 5)
    ill = KINDS[name](dice).behaviour
    return Trouble(f"{name} {down:.1f} s, well {up:.1f} s, in turn", flapping(up, down, ill))


def _failing(dice: random.Random) -> Trouble:
    rate, rest = dice.choice([0.1, 0.3, 0.7, 1]), dice.choice([None, None, None, 10.0])
    if rest is not None:
        return Trouble("answers 503, Retry-After 10", answering(503, 0.05, rest), rest)
    return Trouble(f"answers 503 to {rate:.0%}", failing(rate, dice.choice([0.05, 1.0])))


def _deaf(dice: random.Random) -> Trouble:
    seconds = dice.choice([3.0, 15.0, 40.0])
    result = dice.choice([None, BrokenContract("answered nonsense"), ConnectionFailed("broke")])
    return Trouble(f"cannot be cancelled, takes {seconds:g} s: {result}", deaf(seconds, result))


def _slow(dice: random.Random) -> Trouble:
    seconds = dice.choice([1.0, 3.0, 20.0])
    return Trouble(f"takes {seconds:g} s", good(seconds))


#: Description of the fault that answers 400 to every call: `invariants` searches for it.
REFUSES_ALL = "answers 400 to everything"
OTHER_WIDTH = "answers vectors of another width"
NOT_FOUND = "answers 404"
NO_REST = "answers 429 and no Retry-After"
IS_SILENT = "accepts and never answers"

KINDS: dict[str, Callable[[random.Random], Trouble]] = {
    "slow": _slow,
    "tail": lambda dice: Trouble(
        "some calls take 2 to 8 s", heavy_tailed(dice.choice([0.1, 0.3, 0.6]))
    ),
    "silent": lambda dice: Trouble(IS_SILENT, silent, 60.0),
    "refuses": lambda dice: Trouble(REFUSES_ALL, answering(400, 0.01)),
    "throttled": _throttled,
    "quota": _quota,
    "5xx": _failing,
    "dead": lambda dice: Trouble("refuses connections", dead),
    "liar": lambda dice: Trouble(
        "answers too few vectors", lambda w, c: (0.05, BrokenContract("answered 0 vectors"))
    ),
    "width": lambda dice: Trouble(OTHER_WIDTH, lambda w, c: (0.05, OtherWidth(WIDTH + 4))),
    "credentials": lambda dice: Trouble("answers 401", answering(401, 0.02)),
    "404": lambda dice: Trouble(NOT_FOUND, answering(404, 0.02)),
    "overloads": lambda dice: Trouble("breaks above n calls", breaks_above(dice.choice([1, 2, 4]))),
    "bug": _bug,
    "deaf": _deaf,
    "flapping": _flapping,
}
