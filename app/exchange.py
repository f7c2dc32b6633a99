"""The record of one request: its id, its clock, and what is known of it so far; its observers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.auth.authenticator import Address
from app.domain import Caller, EmbeddingRequest, Outcome, Source
from app.errors import ClientError
from app.limits.limiter import Grant

#: Where a request's exchange is in its WSGI environ.
EXCHANGE = "embeddings_proxy.exchange"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(given: str | None) -> str:
    """The caller's id where it is well-formed, else a new one."""
    if given and _WELL_FORMED.fullmatch(given):
        return given
    return f"req_{os.urandom(16).hex()}"


class Observer(Protocol):
    """Is told of every exchange when its answer is ready. Must be quick and must not raise."""

    def finished(self, exchange: Exchange, status: int) -> None: ...


class StartObserver(Protocol):
    """Is told of every exchange when it begins, of which ``environ`` is WSGI's. As quick."""

    def started(self, exchange: Exchange, environ: Mapping[str, Any]) -> None: ...


@dataclass(slots=True)
class Exchange:
    """What is known of a request so far; it fills as the request goes its way."""

    id: str
    method: str
    path: str
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    request: EmbeddingRequest | None = None
    outcome: Outcome | None = None
    error: ClientError | None = None
    grant: Grant | None = None
    route: str = ""  # Flask's endpoint; empty for a path or a method that is none of ours
    rule: str = ""  # the same as a path with its variables
    admitted: bool = False  # past the limits of its key
    client: Address | None = None  # where it comes from: `app.api.client_address`
    trace: Any = None  # of its span, where requests are traced
    trace_id: str = ""  # likewise, as traces are looked up by it

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def purchases(self) -> Mapping[Source, int]:
        """Tokens bought for it, by deployment; also where it failed after that."""
        ended = self.outcome or self.error
        return ended.purchases if ended is not None else {}
