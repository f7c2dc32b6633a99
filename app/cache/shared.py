"""The cache in Redis or Valkey that all workers and hosts share, behind that of each worker.

Keys are asked for by MGET, a large number of them in chunks (`app.cache.chunks`); what has come
when the call timeout ends is used, the rest is a miss. (On a cluster a chunk is an MGET a slot,
pipelined.) What is put goes into a bounded queue, and a background task writes it, off the answer's
path. An entry lives for the TTL from its first write: the value says when it ends, and a later
write of the same key keeps to it. A server that is slow or dead costs hits, never an answer:
`app.redis.client`.

There is no single flight across workers. It would need a lock in the server that each miss takes,
polls and releases: a round trip more for every miss, a wait for another worker, and a lock that
outlives a killed worker by its expiry. It would save one call of a provider where two workers miss
the same item within the time of that call, which is rare and costs little.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from app.cache.chunks import ChunkSize
from app.cache.entries import VALUE_OVERHEAD_BYTES, Names, decode, encode
from app.cache.memory import CacheStats, SharedStats
from app.concurrency.locks import uncontended_lock
from app.domain import Entry
from app.redis.client import BestEffortClient
from app.vectors import BYTES_PER_VALUE

#: Bytes that may wait to be written; entries above that are not written, and counted.
MAX_QUEUED_BYTES = 32 * 2**20
#: Entries of one write, and their bytes: beside a slow link it must end within redis-py's timeout.
MAX_WRITE_ENTRIES = 256
MAX_WRITE_BYTES = 256 * 2**10

_Found = tuple[Entry, float] | None


@dataclass(frozen=True, slots=True)
class SharedSpace:
    """A vector space, its generation and the width of its vectors: what one request looks up."""

    id: bytes
    prefix: str  # of the names of its entries; it has the generation
    width: int | None  # values in a vector; None: any

    @property
    def value_bytes(self) -> int | None:
        """The size of a value; None where the width is not known."""
        if self.width is None:
            return None
        return VALUE_OVERHEAD_BYTES + len(self.id) + BYTES_PER_VALUE * self.width


#: An entry that waits to be written: its space, its key and itself.
_Queued = tuple[SharedSpace, bytes, Entry]


class SharedCache:
    """The second level. ``clock`` gives the seconds since 1970, as all hosts see them.

    The lock guards the queue and its bytes; nothing waits under it.
    """

    def __init__(
        self,
        url: str,
        ttl: float,
        namespace: str = "embeddings",
        timeout: float = 0.05,
        *,
        cleared: Callable[[], object] = lambda: None,
        report: Callable[[], tuple[str, bytes]] | None = None,
        clock: Callable[[], float] = time.time,
        remote: Callable[..., BestEffortClient] = BestEffortClient,
    ) -> None:
        self.names = Names(namespace)
        self.remote = remote(url, timeout, "cache", self._chores)
        self._ttl, self._clock = ttl, clock
        self._cleared, self._report = cleared, report
        self._chunk_size = ChunkSize(timeout)
        self._lock = uncontended_lock()
        self._queue: deque[_Queued] = deque()
        self._queued = 0
        self._generations: dict[str, str] = {}
        # Items: found, not found, not looked up (a failure, or the time was over), spoiled;
        # written, never written.
        self.hits = self.misses = self.lost = self.spoiled = self.written = self.dropped = 0

    def for_space(self, space: str, width: int | None) -> SharedSpace:
        """Return what `find` and `put` need to know of a vector space, as it is now."""
        self.remote.ready()
        prefix = self.names.prefix(space, self._generations)
        return SharedSpace(space.encode("utf-8", "surrogatepass"), prefix, width)

    def find(self, space: SharedSpace, keys: Sequence[bytes]) -> list[_Found]:
        """Return for each key its entry and the seconds that it has left, or None, in order."""
        if not keys:
            return []

        def ask(client: Any, remaining_s: Callable[[], float]) -> Iterator[list[_Found]]:
            return self._chunks(client, space, keys)

        ends = [known for chunk in self.remote.collect(ask) for known in chunk]
        now = self._clock()
        # The clock of the host that wrote it may be ahead: by this one it lives the TTL at most.
        found = [known and (known[0], min(known[1] - now, self._ttl)) for known in ends]
        hits = len(found) - found.count(None)
        self.hits += hits
        self.misses += len(found) - hits
        lost = len(keys) - len(found)
        self.lost += lost
        return found + [None] * lost

    def _chunks(
        self, client: Any, space: SharedSpace, keys: Sequence[bytes]
    ) -> Iterator[list[_Found]]:
        """Look keys up chunk by chunk, in order: each one's entry and its end, or None."""
        value_bytes = space.value_bytes
        start = 0
        while start < len(keys):
            chunk = keys[start : start + self._chunk_size.keys(value_bytes)]
            start += len(chunk)
            began = time.monotonic()
            values = _mget(client, [space.prefix + key.hex() for key in chunk])
            received = sum(len(value) for value in values if value is not None)
            self._chunk_size.record(received, time.monotonic() - began)
            yield [
                self._decode(space, key, value) for key, value in zip(chunk, values, strict=True)
            ]

    def _decode(self, space: SharedSpace, key: bytes, value: bytes | None) -> _Found:
        if value is None:
            return None
        known = decode(key, value, space.width, space.id)
        if known is None:
            self.spoiled += 1
        return known

    def put(self, space: SharedSpace, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Queue entries to be written. Never waits."""
        if self.remote.breaker.is_open:
            self.dropped += sum(1 for _ in entries)
            return
        with self._lock:
            for key, entry in entries:
                if self._queued + len(entry.row) > MAX_QUEUED_BYTES:
                    self.dropped += 1
                else:
                    self._queue.append((space, key, entry))
                    self._queued += len(entry.row)
        self.remote.wake()

    def stats(self) -> CacheStats:
        """Return what this worker found; what it could not look up counts as a miss too."""
        away = self.remote.breaker.is_open
        shared = SharedStats(self.lost, self.spoiled, self.written, self.dropped, away)
        return CacheStats(self.hits, self.misses + self.lost, shared=shared)

    def flush(self, seconds: float = 20.0) -> bool:
        """Wait until the queue is written; return whether it is. For tests and benchmarks."""
        end = time.monotonic() + seconds
        while self._queued and time.monotonic() < end:
            self.remote.wake()
            time.sleep(0.001)  # a poll: only tests and benchmarks wait here
        return not self._queued

    def close(self) -> None:
        """Write what is queued and close all connections."""
        self.remote.close()

    # The background

    def _chores(self, client: Any, is_due: bool) -> None:
        if is_due:
            self._poll(client)
        while batch := self._take():
            try:
                self._write(client, batch)
                self.written += len(batch)
            except BaseException as error:
                self.dropped += len(batch)
                # A refused write (the server is full, or read-only) is no failure: reads go on.
                if not isinstance(error, ResponseError):
                    raise
            finally:
                with self._lock:
                    self._queued -= sum(len(entry.row) for _, _, entry in batch)

    def _take(self) -> list[_Queued]:
        """Take from the queue what is written at once."""
        batch: list[_Queued] = []
        size = 0
        with self._lock:
            while self._queue and len(batch) < MAX_WRITE_ENTRIES:
                size += len(self._queue[0][2].row)
                if batch and size > MAX_WRITE_BYTES:
                    break
                batch.append(self._queue.popleft())
        return batch

    def _write(self, client: Any, batch: list[_Queued]) -> None:
        """Write entries: each for the TTL, or for what is left of that where its key is there."""
        ttl, now = int(self._ttl * 1000), self._clock()
        named = {space.prefix + key.hex(): (space, key, entry) for space, key, entry in batch}
        pipe = client.pipeline(transaction=False)
        for name, (space, key, entry) in named.items():
            pipe.set(name, encode(key, entry, now + self._ttl, space.id), px=ttl, nx=True)
        there = [name for name, new in zip(named, pipe.execute(), strict=True) if not new]
        if not there:
            return
        # Two workers missed it at once, or the value that is there is spoiled.
        for name in there:
            pipe.pttl(name)
        for name, rest in zip(there, pipe.execute(), strict=True):
            left = rest if 0 < rest <= ttl else ttl
            space, key, entry = named[name]
            pipe.set(name, encode(key, entry, now + left / 1000, space.id), px=left)
        pipe.execute()

    def _poll(self, client: Any) -> None:
        """Ask which spaces were cleared; report this worker's counts for ``cache stats``."""
        found = client.hgetall(self.names.generations)
        generations = {name.decode(): token.decode() for name, token in found.items()}
        if generations != self._generations:
            self._generations = generations
            self._cleared()
        if self._report is not None:
            client.hset(self.names.workers, *self._report())
            client.expire(self.names.workers, 24 * 3600)


def _mget(client: Any, names: list[str]) -> list[bytes | None]:
    # Only a cluster's client has the first: the keys of an MGET must be in one slot there.
    ask = getattr(client, "mget_nonatomic", None) or client.mget
    values: list[bytes | None] = ask(names)
    return values
