"""A part of a request on its way through dispatch."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.dispatch.deployment import Deployment
from app.dispatch.gate import Ticket
from app.errors import ProviderError


@dataclass(slots=True, eq=False)
class Part:
    """Consecutive items of the request, from ``start``, and what has become of them so far."""

    start: int
    tokens: list[int]  # expected, per item
    due: float = 0.0  # not put to anybody before that
    failures: list[ProviderError] = field(default_factory=list)
    tried: list[Deployment] = field(default_factory=list)
    running: list[Ticket] = field(default_factory=list)
    patience: float = float("inf")  # when to look elsewhere
    hedge_at: float = float("inf")
    owes: bool = False  # a retry that the budget has not been charged for
    alone: bool = False  # not to be merged any more

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)

    @property
    def asked(self) -> list[Deployment]:
        """Those that have failed it, and those that have it now."""
        return [*self.tried, *(ticket.deployment for ticket in self.running)]
