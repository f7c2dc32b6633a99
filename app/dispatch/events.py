"""Interfaces through which dispatch reports its calls to metrics, tracing and the console.

`Events` itself reports nothing. Its implementations are `app.observability.metrics.meter` and, for
the console's page Now, `app.observability.live.figures`; that of a tracer is
`app.observability.tracing`. A tracer may be None, so that without tracing a call costs one
comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment
    from app.dispatch.queue.attempts import Attempt


_log = logging.getLogger("app.dispatch")
_FAILED = "an observer of calls failed"


class Events:
    """Observes calls to providers. Its methods are called from any thread, and must be quick."""

    def call_started(self, deployment: Deployment, attempts: Sequence[Attempt], now: float) -> None:
        """Called before one call is sent for these attempts."""

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        """Called when a call has returned vectors, after so many seconds."""

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        """Called when a call has failed, after so many seconds."""

    def ejected(self, model: str, deployment: Deployment) -> None:
        """Called when a deployment is newly ejected."""

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        """Called when a part that failed at a deployment is to be sent again, there or elsewhere.

        Not called where the part first waits until any deployment may be called (`retry.Wait`).
        """

    def hedged(self, model: str, deployment: Deployment) -> None:
        """Called when a slow call is repeated at this deployment, beside the first."""


class Tracer(Protocol):
    """Makes a span of each call to a provider."""

    def start_call_span(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Any, Call]:
        """Return the span of a call, and the call with its trace headers.

        ``callers`` are the `Call.trace` of the requests that share it.
        """

    def end_call_span(self, span: Any, result: Vectors | ProviderError) -> None:
        """End the span of a call with its result."""


class GuardedEvents(Events):
    """Forwards events to observers, and logs their exceptions instead of failing the call.

    The loop is written out in each method: a shared one would add a call to each event.
    """

    def __init__(self, *observers: Events) -> None:
        self._observers = observers

    def call_started(self, deployment: Deployment, attempts: Sequence[Attempt], now: float) -> None:
        for observer in self._observers:
            try:
                observer.call_started(deployment, attempts, now)
            except Exception:
                _log.exception(_FAILED)

    def answered(
        self, model: str, deployment: Deployment, vectors: Vectors, seconds: float
    ) -> None:
        for observer in self._observers:
            try:
                observer.answered(model, deployment, vectors, seconds)
            except Exception:
                _log.exception(_FAILED)

    def failed(
        self, model: str, deployment: Deployment, error: ProviderError, seconds: float
    ) -> None:
        for observer in self._observers:
            try:
                observer.failed(model, deployment, error, seconds)
            except Exception:
                _log.exception(_FAILED)

    def ejected(self, model: str, deployment: Deployment) -> None:
        for observer in self._observers:
            try:
                observer.ejected(model, deployment)
            except Exception:
                _log.exception(_FAILED)

    def retried(self, model: str, deployment: Deployment, error: ProviderError) -> None:
        for observer in self._observers:
            try:
                observer.retried(model, deployment, error)
            except Exception:
                _log.exception(_FAILED)

    def hedged(self, model: str, deployment: Deployment) -> None:
        for observer in self._observers:
            try:
                observer.hedged(model, deployment)
            except Exception:
                _log.exception(_FAILED)


class GuardedTracer:
    """Forwards spans; after an exception of the tracer, which is logged, the call has no span."""

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
