"""A request of the simulation, and what its caller got."""

from dataclasses import dataclass

from app.domain import EmbeddingRequest, Outcome
from app.errors import ClientError


@dataclass(eq=False)
class Asked:
    """A request and its result."""

    request: EmbeddingRequest
    at: float
    leaves_at: float = float("inf")  # when its client closes the connection
    heard: float | None = None
    outcome: Outcome | None = None
    error: ClientError | None = None
    bug: BaseException | None = None  # an unexpected exception
    worker: int = 0  # the number of the one that serves it

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None
