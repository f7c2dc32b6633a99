"""What dispatch reports of its calls, and what it asks of a tracer. Dispatch knows neither.

`Events` is the null implementation of one, `app.metrics` the real one. Where there is no tracer
there is None: each call costs one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.attempt import Attempt
    from app.dispatch.deployment import Deployment


class Events:
    """Called on what happens at the providers, from any thread. Must be quick, must not raise."""

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
