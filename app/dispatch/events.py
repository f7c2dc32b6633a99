"""What dispatch tells others about, and what it asks of a tracer. Dispatch knows neither.

`Events` is the null implementation of one, `app.metrics` the real one. Where there is no tracer
there is None: each call costs one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from app.domain import Call, Vectors
from app.errors import ProviderError

if TYPE_CHECKING:
    from app.dispatch.deployment import Deployment
    from app.dispatch.gate import Ticket


class Events:
    """Told of what happens at the providers, from any thread. Must be quick and must not raise."""

    def departed(self, deployment: Deployment, tickets: Sequence[Ticket], now: float) -> None:
        """The tickets leave together, in one call."""

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

    def leave(
        self, model: str, deployment: Deployment, call: Call, callers: Sequence[Any]
    ) -> tuple[Any, Call]:
        """A call leaves for ``callers``, each what `Call.trace` held: its span, and it, to send."""

    def arrive(self, span: Any, result: Vectors | ProviderError) -> None:
        """The call of a span has ended."""
