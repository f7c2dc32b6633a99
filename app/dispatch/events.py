"""What dispatch reports of its calls, and what it asks of a tracer. Dispatch knows neither.

`Events` is the null implementation of one, `app.observability.metrics` has the real one. Where
there is no tracer there is None: each call costs one comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.attempt import Attempt
    from app.dispatch.deployment import Deployment


_log = logging.getLogger("app.dispatch")


class Events:
    """Called on what happens at the providers, from any thread. Must be quick."""

    def call_started(self, deployment: Deployment, attempts: Sequence[Attempt], now: float) -> None:
        """One call leaves for these attempts."""

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        """A call brought vectors, after so many seconds."""

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        """A call failed, after so many seconds."""

    def ejected(self, model: str, deployment: Deployment) -> None:
        """A deployment is not asked for a while."""

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        """What failed there is tried again, there or elsewhere."""

    def hedged(self, model: str, deployment: Deployment) -> None:
        """A slow call was repeated at this deployment, beside the first."""


class Tracer(Protocol):
    """Follows calls to providers."""

    def start_call_span(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Any, Call]:
        """A call leaves for ``callers``, each what `Call.trace` held: its span, and it, to send."""

    def end_call_span(self, span: Any, result: Vectors | ProviderError) -> None:
        """The call of a span has ended."""


class GuardedEvents(Events):
    """Passes on what happens, and survives what the other end raises: an observer is an extra."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def call_started(self, deployment: Deployment, attempts: Sequence[Attempt], now: float) -> None:
        with _logged():
            self._events.call_started(deployment, attempts, now)

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        with _logged():
            self._events.answered(model, deployment, vectors, seconds)

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        with _logged():
            self._events.failed(model, deployment, error, seconds)

    def ejected(self, model: str, deployment: Deployment) -> None:
        with _logged():
            self._events.ejected(model, deployment)

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        with _logged():
            self._events.retried(model, deployment, error)

    def hedged(self, model: str, deployment: Deployment) -> None:
        with _logged():
            self._events.hedged(model, deployment)


class GuardedTracer:
    """Likewise for spans: a call without one is as good."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_call_span(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Any, Call]:
        started: list[tuple[Any, Call]] = []
        with _logged():
            started.append(self._tracer.start_call_span(model, deployment, call, callers))
        return started[0] if started else (None, call)

    def end_call_span(self, span: Any, result: Vectors | ProviderError) -> None:
        if span is not None:
            with _logged():
                self._tracer.end_call_span(span, result)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        _log.exception("an observer of calls failed")
