"""Helpers for tests of dispatch: models, load, and a dispatcher alone."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.concurrency.deadline import Deadline
from app.config import (
    DeploymentSettings,
    LimitSettings,
    LogSettings,
    ModelSettings,
    ProviderSettings,
    Settings,
)
from app.dispatch import Dispatcher
from app.domain import Call, Item, Vectors
from app.errors import BadRequest
from app.providers.base import Capabilities, Provider
from app.tokens.tokenizers import Tokenizer
from tests.dispatch.asked import Asked
from tests.dispatch.members import Seen
from tests.dispatch.simulator import Simulation

START = 1000.0  # the clock of the simulation when it starts
WINDOW = 60.0  # seconds of a deployment's quota


def models(*names: str, **settings: Any) -> dict[str, list[dict[str, Any]]]:
    """Return a model "m" with a deployment at each provider, all with these settings."""
    return {"m": [{"provider": name, **settings} for name in names]}


def load(
    run: Simulation, number: int, every: float, after: float = 0.0, model: str = "m", **fields: Any
) -> list[Asked]:
    """Request at regular times, with one item each that no other request has."""
    return [
        run.ask(model, [f"{model} {after} {i}"], after + i * every, **fields) for i in range(number)
    ]


def codes(asked: Sequence[Asked]) -> Counter[str]:
    """Count requests by result: "ok", "BadRequest", or the code or class of an error."""
    return Counter(map(_code, asked))


def _code(one: Asked) -> str:
    if one.error is not None:
        if isinstance(one.error, BadRequest):
            return "BadRequest"
        return one.error.code or type(one.error).__name__
    return "ok" if one.outcome is not None else "an exception of ours"


def waited(one: Asked) -> float:
    """Return the seconds from a request to its answer."""
    assert one.heard is not None, "a caller heard nothing"
    return one.heard - one.at


def later_than(seconds: float, asked: Sequence[Asked]) -> list[float]:
    """Return the waits longer than ``seconds``."""
    return [waited(one) for one in asked if waited(one) > seconds]


def most_in_a_window(calls: Sequence[Seen], window: float = WINDOW) -> int:
    """Return the maximum number of calls that began within a window of this length."""
    began = sorted(call.began for call in calls)
    return max(
        (sum(start <= other < start + window for other in began) for start in began), default=0
    )


class Stub:
    """A provider that calls a function for each call, and counts calls."""

    def __init__(self, answer: Callable[[Call], Vectors], **takes: Any) -> None:
        self.capabilities = Capabilities(**takes)
        self._answer = answer
        self.calls: list[Call] = []

    def limits(self, model: str) -> Capabilities:
        return self.capabilities

    def load(self) -> None:
        pass

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        self.calls.append(call)
        return self._answer(call)


def vectors(items: Sequence[Item], width: int = 1, tokens: int = 1) -> Vectors:
    """Return a good vector for each item, and this number of tokens for each."""
    return Vectors([b"\0\0\x80?" * width] * len(items), [tokens] * len(items))


def dispatcher(
    providers: Mapping[str, Provider],
    tokenizer: Tokenizer | None = None,
    workers: int = 1,
    provider: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    **deployment: Any,
) -> Dispatcher:
    """Return a dispatcher of one model "m" with a deployment at each provider."""
    made = tuple(DeploymentSettings(name, "m", **deployment) for name in providers)
    settings = Settings(
        providers={name: ProviderSettings(name, "openai", **provider or {}) for name in providers},
        models={"m": ModelSettings("m", made, **model or {})},
        keys={},
        cache=None,
        limits=LimitSettings(),
        logs=LogSettings(),
        workers=workers,
    )
    tokenizers = {"m": tokenizer} if tokenizer else None
    return Dispatcher(settings, providers, rng=random.Random(1), tokenizers=tokenizers)
