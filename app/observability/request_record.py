"""Makes the record of each finished request, for the log and the console."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import UNSET, Struct, UnsetType

from app.exchange import Exchange

#: Characters of a path and of an error: both may hold texts of a client.
MAX_TEXT_LENGTH = 1000

#: The text of an address, remembered for the clients that ask most: to write it takes 1 µs.
_text_of = functools.lru_cache(maxsize=1024)(str)


class RequestRecord(Struct, gc=False):
    """What is known of a finished request, without inputs and secrets.

    Its fields are those of the log line, in that order; docs/operations.md describes them. None
    means that the request ended before the value was known.
    """

    time: str  # UTC, RFC 3339
    level: str
    request_id: str
    # UNSET is not encoded, so that to decode needs this default, and so one of each field after it.
    trace_id: str | UnsetType = UNSET
    method: str = ""
    path: str = ""
    status: int = 0
    client: str | None = None
    key: str | None = None
    user: str | None = None
    model: str | None = None
    service_tier: str | None = None
    space: str | None = None
    provider: str | None = None
    items: int | None = None
    tokens: int | None = None
    cached_tokens: int | None = None
    billed_tokens: int = 0
    cache: str | None = None
    attempts: int = 0
    queue_ms: float | None = None
    upstream_ms: float | None = None
    total_ms: float = 0.0
    error_code: str | None = None
    error: str | None = None


def record_of(exchange: Exchange, status: int, now: float) -> RequestRecord:
    """Return the record of a finished request; ``now`` in seconds since 1970."""
    request, outcome, error = exchange.request, exchange.outcome, exchange.error
    path, client, caller = exchange.path, exchange.client, exchange.caller
    level = "error" if status >= 500 else "info"
    if level == "info" and path.startswith("/health/"):
        level = "debug"  # probes come every few seconds
    record = RequestRecord(
        utc(now),
        level,
        exchange.id,
        exchange.trace_id or UNSET,
        exchange.method,
        path if len(path) <= MAX_TEXT_LENGTH else path[:MAX_TEXT_LENGTH],
        status,
        None if client is None else _text_of(client),
        None if caller is None else caller.name,
    )
    record.total_ms = _ms(exchange.seconds)
    if request is not None:
        record.user, record.model = request.user, request.model
        record.service_tier, record.items = request.flow.tier, len(request.items)
        record.space = exchange.space or None
    if outcome is not None:
        record.provider, record.attempts = outcome.provider, outcome.attempts
        record.tokens, record.cached_tokens = outcome.prompt_tokens, outcome.cached_tokens
        record.cache = outcome.cache
        record.queue_ms = _ms(outcome.queue_seconds)
        record.upstream_ms = _ms(outcome.upstream_seconds)
    elif error is not None:
        record.attempts = error.attempts
    if purchases := exchange.purchases:
        record.billed_tokens = sum(purchases.values())
    if error is not None:
        record.error_code = error.code or error.type
        record.error = error.log_message[:MAX_TEXT_LENGTH]
    return record


class RequestRecords:
    """An observer that makes the record of each request, and calls ``consumers`` with both.

    They must not wait or raise.
    """

    def __init__(
        self,
        *consumers: Callable[[Exchange, RequestRecord], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._consumers, self._clock = consumers, clock

    def finished(self, exchange: Exchange, status: int) -> None:
        record = record_of(exchange, status, self._clock())
        for consumer in self._consumers:
            consumer(exchange, record)


def _ms(seconds: float) -> float:
    """Return milliseconds with two decimals; a time is not negative.

    Ten times as fast as `round` with digits, which writes the number as text and reads it again.
    """
    return int(seconds * 100_000 + 0.5) / 100


def utc(now: float) -> str:
    """Return seconds since 1970 as RFC 3339 writes them, in UTC; milliseconds are cut."""
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03d}Z"


@functools.lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:-6]
