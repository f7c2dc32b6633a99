"""What dispatch reports of its calls, and what it asks of a tracer. Dispatch knows neither.

`Events` is the null implementation of one, `app.observability.metrics` has the real one. Where
there is no tracer there is None: each call costs one comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.attempt import Attempt
    from app.dispatch.deployment import Deployment


_log = logging.getLogger("app.dispatch")
_FAILED = "an observer of calls failed"


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
        try:
            self._events.call_started(deployment, attempts, now)
        except Exception:
            _log.exception(_FAILED)

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        try:
            self._events.answered(model, deployment, vectors, seconds)
        except Exception:
            _log.exception(_FAILED)

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        try:
            self._events.failed(model, deployment, error, seconds)
        except Exception:
            _log.exception(_FAILED)

    def ejected(self, model: str, deployment: Deployment) -> None:
        try:
            self._events.ejected(model, deployment)
        except Exception:
            _log.exception(_FAILED)

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        try:
            self._events.retried(model, deployment, error)
        except Exception:
            _log.exception(_FAILED)

    def hedged(self, model: str, deployment: Deployment) -> None:
        try:
            self._events.hedged(model, deployment)
        except Exception:
            _log.exception(_FAILED)


class GuardedTracer:
    """Likewise for spans: a call without one is as good."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_call_span(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Any, Call]:
        try:
            return self._tracer.start_call_span(model, deployment, call, callers)
        except Exception:
            _log.exception(_FAILED)
            return None, call

    def end_call_span(self, span: Any, result: Vectors | ProviderError) -> None:
        if span is None:
            return
        try:
            self._tracer.end_call_span(span, result)
        except Exception:
            _log.exception(_FAILED)
