"""`Exchange`, what is known of one request, and the protocols of its observers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from app.auth.authenticator import Address
from app.domain import Caller, EmbeddingRequest, Outcome, Source
from app.errors import ClientError
from app.limits.limiter import Grant

#: The key of a request's exchange in its WSGI environ.
EXCHANGE = "embeddings_proxy.exchange"
#: In the WSGI environ: the seconds for which a request has waited for a thread of the server.
WAITED_S = "embeddings_proxy.waited_s"
#: Flask's endpoint of all paths for embeddings.
EMBEDDINGS_ROUTE = "api.embeddings"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(given: str | None) -> str:
    """Return the caller's request id if it is well-formed, else a new one."""
    if given and _WELL_FORMED.fullmatch(given):
        return given
    return f"req_{os.urandom(16).hex()}"


class Observer(Protocol):
    """Observes every exchange when its response is ready."""

    def finished(self, exchange: Exchange, status: int) -> None:
        """Handle the end of an exchange. Must not wait or raise: the response is sent after it."""


class StartObserver(Protocol):
    """Observes every exchange when it begins."""

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None:
        """Handle the start of an exchange; ``environ`` is WSGI's. Must not wait or raise."""


class Exchange(Struct):
    """What is known of one request; each step sets the fields that it knows."""

    id: str
    method: str
    path: str
    started: float = field(default_factory=time.monotonic)  # monotonic, in seconds
    seconds: float = 0.0  # from the start to the answer, once that is ready
    caller: Caller | None = None
    request: EmbeddingRequest | None = None
    outcome: Outcome | None = None
    error: ClientError | None = None
    grant: Grant | None = None
    route: str = ""  # Flask's endpoint; empty for an unknown path or method
    rule: str = ""  # the route's path with its variables, as Flask's URL rule writes it
    admitted: bool = False  # the limits of its key have admitted it
    admitted_at: float = 0.0  # when, of the monotonic clock; 0: they have not
    space: str = ""  # the id of the model's vector space, once the model is known
    client: Address | None = None  # the client's address: `app.api.client`
    trace: Any = None  # the context of its span, if requests are traced
    trace_id: str = ""  # the id of that trace, for logs

    def elapsed(self) -> float:
        """Return the seconds since the request arrived."""
        return time.monotonic() - self.started

    @property
    def asks_for_embeddings(self) -> bool:
        """Whether it is a request for embeddings, under any of the route's paths."""
        return self.route == EMBEDDINGS_ROUTE and self.method == "POST"  # Flask adds OPTIONS

    @property
    def purchases(self) -> Mapping[Source, int]:
        """Tokens bought for the request, by deployment; a failed request may have bought some."""
        result = self.outcome or self.error
        return result.purchases if result is not None else {}
