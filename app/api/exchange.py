"""One HTTP exchange: its id, its clock, and the line it leaves in the log."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.access.door import Address
from app.access.limits import Grant
from app.domain import Caller, EmbeddingRequest, Outcome, Source
from app.errors import ClientError
from app.logs import log_request

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


class Greeter(Protocol):
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


class RequestLog:
    """Writes the log line: who, what, by whom, how long, how it ended."""

    def finished(self, exchange: Exchange, status: int) -> None:
        asked, outcome, error = exchange.request, exchange.outcome, exchange.error
        traced = {"trace_id": exchange.trace_id} if exchange.trace_id else {}
        log_request(
            {
                "request_id": exchange.id,
                **traced,
                "method": exchange.method,
                "path": exchange.path,
                "status": status,
                "client": str(exchange.client) if exchange.client is not None else None,
                "key": exchange.caller.name if exchange.caller else None,
                "user": asked.user if asked else None,
                "model": asked.model if asked else None,
                "provider": outcome.provider if outcome else None,
                "items": len(asked.items) if asked else None,
                "tokens": outcome.prompt_tokens if outcome else None,
                "cached_tokens": outcome.cached_tokens if outcome else None,
                "billed_tokens": sum(exchange.purchases.values()),
                "cache": outcome.cache if outcome else None,
                "attempts": outcome.attempts if outcome else error.attempts if error else 0,
                "upstream_ms": _ms(outcome.upstream_seconds) if outcome else None,
                "total_ms": _ms(exchange.seconds),
                "error_code": (error.code or error.type) if error else None,
                "error": error.log_message if error else None,
            }
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
