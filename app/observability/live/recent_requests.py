"""Keeps the last requests of this process, in memory, for the console."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import asdict

from app.concurrency.locks import uncontended_lock
from app.domain import CallRecord
from app.observability.request_record import RequestRecord

#: Requests kept of callers; and apart from these of requests without a valid key, so that a flood
#: of them displaces no other.
MAX_REQUESTS = 1000
MAX_REQUESTS_WITHOUT_KEY = 100
#: Of all requests kept of callers: their bytes, 500 for a usual one, and their calls, so that all
#: are soon read. The oldest are dropped beyond.
MAX_BYTES = 5 * 2**20
MAX_CALLS = 10_000
#: MessagePack has no integers of more than 64 bits.
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_SURROGATES = re.compile("[\ud800-\udfff]")


class RecentRequest(Struct, frozen=True, gc=False):
    """A finished request, and what happened to it. It has no inputs, and no secrets.

    `app.observability.live.steps` makes the steps of it. ``started``, ``admitted_at`` and the times
    of the calls are those of the monotonic clock.
    """

    record: RequestRecord
    ended_at: float  # seconds since 1970
    side: str | None  # whose the error is
    cost: int  # in billionths of a dollar
    started: float
    admitted_at: float  # 0: it was refused before
    calls: tuple[CallRecord, ...]  # before it is encoded: plain tuples of the same values


class RecentRequests:
    """The last requests of this process; the lock guards all fields.

    Each is kept as MessagePack, in half of the memory of its twenty objects. To encode it takes
    0.4 µs. To release the objects would take ten times as long, because they would no longer be in
    the processor's cache by then.
    """

    def __init__(self) -> None:
        self._lock = uncontended_lock()
        self._kept: deque[tuple[bytes, int]] = deque()  # with the number of calls
        self._without_key: deque[bytes] = deque(maxlen=MAX_REQUESTS_WITHOUT_KEY)
        self._bytes = self._calls = 0  # of those in ``_kept``

    def add(self, requests: Iterable[RecentRequest]) -> None:
        """Keep requests, and drop the oldest beyond the limits."""
        with self._lock:
            kept = self._kept
            for request in requests:
                encoded = _encode(request)
                if request.record.key is None:
                    self._without_key.append(encoded)
                    continue
                kept.append((encoded, len(request.calls)))
                self._bytes += len(encoded)
                self._calls += len(request.calls)
                while (
                    len(kept) > MAX_REQUESTS or self._bytes > MAX_BYTES or self._calls > MAX_CALLS
                ):
                    oldest, calls = kept.popleft()
                    self._bytes -= len(oldest)
                    self._calls -= calls

    def find(self, request_id: str) -> list[RecentRequest]:
        """Return the requests with an id, newest first.

        A client chooses its id, and may use one for several requests.
        """
        found = [request for request in self.all() if request.record.request_id == request_id]
        return sorted(found, key=lambda request: -request.ended_at)

    def all(self) -> list[RecentRequest]:
        """Return all requests that are kept."""
        with self._lock:
            kept = [*(encoded for encoded, _ in self._kept), *self._without_key]
        return list(map(_decoder.decode, kept))


_encoder, _decoder = Encoder(), Decoder(RecentRequest)


def _encode(request: RecentRequest) -> bytes:
    try:
        return _encoder.encode(request)
    except (ValueError, OverflowError):  # half a surrogate pair, or more than 64 bits
        return _encoder.encode(_encodable(request))


def _encodable(value: Any) -> Any:
    """Return a value of a request as MessagePack can have it.

    Halves of surrogate pairs are replaced by U+FFFD, too large and too small integers are cut.
    """
    match value:
        case str():
            return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
        case int():
            return max(_MIN_INT, min(value, _MAX_INT))
        case tuple():
            return tuple(map(_encodable, value))
        case Struct():
            fields = asdict(value).items()
            return {name: _encodable(field) for name, field in fields if field is not UNSET}
    return value
