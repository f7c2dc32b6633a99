"""A request of the simulation and its result, which `check_answer` checks."""

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

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None


def check_answer(asked: Asked) -> None:
    request = asked.request
    assert asked.heard is not None, "a caller heard nothing"
    assert asked.bug is None, f"a caller got a {asked.bug!r}"
    assert asked.heard <= asked.at + request.timeout + GRACE, "a caller heard too late"
    if asked.outcome is not None:
        vectors = asked.outcome.vectors
        assert list(vectors.rows) == [row(item) for item in request.items], "not its own vectors"
        assert len(vectors.tokens) == len(request.items)
        return
    assert asked.error is not None
    assert not isinstance(asked.error, InternalError)
    poisoned = any(POISON in str(item) for item in request.items)
    if isinstance(asked.error, BadRequest):
        assert poisoned, "a caller was refused for what another sent"
