"""A request of the simulation, and what its caller got."""

from dataclasses import dataclass

from app.domain import EmbeddingRequest, Outcome
from app.errors import BadRequest, ClientError, InternalError
from tests.dispatch.members import POISON
from tests.dispatch.rows import row
from tests.dispatch.virtual import LATE

#: Maximum seconds from the deadline to the end of a request: a wake-up takes some time, twice.
GRACE = 3 * LATE


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

    def check(self) -> None:
        """Check that its caller got its own vectors, or an error that it may get, in time."""
        assert self.heard is not None, "a caller heard nothing"
        assert self.bug is None, f"a caller got a {self.bug!r}"
        assert self.heard <= self.at + self.request.timeout + GRACE, "a caller heard too late"
        items = self.request.items
        if self.outcome is not None:
            vectors = self.outcome.vectors
            assert list(vectors.rows) == [row(item) for item in items], "not its own vectors"
            assert len(vectors.tokens) == len(items)
            return
        assert self.error is not None
        assert not isinstance(self.error, InternalError)
        if isinstance(self.error, BadRequest):
            is_poisoned = any(POISON in str(item) for item in items)
            assert is_poisoned, "a caller was refused for what another sent"
