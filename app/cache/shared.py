"""The cache in Redis or Valkey that all workers and hosts share, behind that of each worker.

A batch's keys are asked for with one MGET (on a cluster: one a slot, pipelined); what is put goes
into a bounded queue and is written by one thread (under gevent: greenlet), off the answer's path.
An entry lives for the TTL from its first write: the value says when it ends, and a later write of
the same key keeps to it. A server that is slow or dead costs hits, never an answer: `app.remote`.

There is no single flight across workers. It would need a lock in the server that a miss has to
take, poll and release: a round trip more for every miss, a wait for whoever holds it, and a lock
that outlives a killed worker by its expiry. What it would save is one call of a provider where two
workers miss the same item within the moments that this call takes: rare, and cheap beside that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

from redis.exceptions import ResponseError

from app.cache.codec import decode, encode
from app.cache.memory import CacheStats, SharedStats
from app.concurrency.locks import uncontended_lock
from app.domain import Entry
from app.remote import Remote

#: Bytes that may wait to be written; what comes then is not written, and counted.
QUEUE_BYTES = 32 * 2**20
#: Entries of one pipeline.
_BATCH = 256


class Names:
    """The names of all that is kept: ``namespace:version:model:generation:key``.

    The version is of this layout. The model is a digest, so that the entries of one are found by
    what their names begin with. The generation changes when a model is cleared, so that nothing
    that was under way at that moment is found again.
    """

    def __init__(self, namespace: str) -> None:
        self._root = f"{namespace}:1"
        self.generations = f"{self._root}:generations"  # hash: model's digest or "*" → token
        self.workers = f"{self._root}:workers"  # hash: host:pid → report

    def entries(self, model: str | None = None) -> str:
        """The pattern of the entries of a model, or of all."""
        return f"{self._root}:v:{'*' if model is None else digest(model)}:*"

    def prefix(self, model: str, generations: dict[str, str]) -> str:
        """What the keys of a model begin with now."""
        own = digest(model)
        generation = generations.get("*", "") + generations.get(own, "")
        return f"{self._root}:v:{own}:{generation}:"


def digest(model: str) -> str:
    """A short name of a model that needs no escaping."""
    return blake2b(model.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


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
        remote: Callable[..., Remote] = Remote,
    ) -> None:
        self.names = Names(namespace)
        self.remote = remote(url, timeout, "cache", self._chores)
        self._ttl, self._clock = ttl, clock
        self._cleared, self._report = cleared, report
        self._lock = uncontended_lock()
        self._queue: deque[tuple[str, bytes, Entry]] = deque()
        self._queued = 0
        self._generations: dict[str, str] = {}
        #: Items: found, not found, not looked up for a failure, spoiled; written, never written.
        self.hits = self.misses = self.lost = self.spoiled = self.written = self.dropped = 0

    def of(self, model: str, width: int | None) -> Space:
        """The cache of one model's vectors of one width."""
        self.remote.ready()
        return Space(self, self.names.prefix(model, self._generations), width)

    def find(
        self, prefix: str, keys: Sequence[bytes], width: int | None
    ) -> list[tuple[Entry, float] | None]:
        """Each key's entry and the seconds it has left, or None, in order."""
        if not keys:
            return []
        names = [prefix + key.hex() for key in keys]
        values = self.remote.call(lambda client: _mget(client, names))
        if values is None:
            self.lost += len(keys)
            return [None] * len(keys)
        now, found = self._clock(), []
        for key, value in zip(keys, values, strict=True):
            known = decode(key, value, width) if value is not None else None
            if value is not None and known is None:
                self.spoiled += 1
            # Hosts' clocks differ: by none of them does an entry live longer than the TTL.
            found.append((known[0], min(known[1] - now, self._ttl)) if known else None)
        hits = len(keys) - found.count(None)
        self.hits += hits
        self.misses += len(keys) - hits
        return found

    def put(self, prefix: str, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Have entries written. Never waits."""
        if self.remote.breaker.open:
            self.dropped += sum(1 for _ in entries)
            return
        with self._lock:
            for key, entry in entries:
                if self._queued + len(entry.row) > QUEUE_BYTES:
                    self.dropped += 1
                else:
                    self._queue.append((prefix, key, entry))
                    self._queued += len(entry.row)
        self.remote.wake()

    def stats(self) -> CacheStats:
        """What this worker found in it; what could not be looked up is a miss too."""
        away = self.remote.breaker.open
        shared = SharedStats(self.lost, self.spoiled, self.written, self.dropped, away)
        return CacheStats(self.hits, self.misses + self.lost, shared=shared)

    def flush(self, seconds: float = 1.0) -> bool:
        """Wait until all that was put is written; whether it was."""
        end = time.monotonic() + seconds
        while self._queued and time.monotonic() < end:
            self.remote.wake()
            time.sleep(0.001)
        return not self._queued

    def close(self) -> None:
        """Write what is queued and let go of the server."""
        self.remote.close()

    # The background

    def _chores(self, client: Any, due: bool) -> None:
        if due:
            self._poll(client)
        while batch := self._take():
            try:
                self._write(client, batch)
                self.written += len(batch)
            except BaseException as error:
                self.dropped += len(batch)
                if not isinstance(error, ResponseError):
                    raise  # a full or read-only server is no reason not to read
            finally:
                with self._lock:
                    self._queued -= sum(len(entry.row) for _, _, entry in batch)

    def _take(self) -> list[tuple[str, bytes, Entry]]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]

    def _write(self, client: Any, batch: list[tuple[str, bytes, Entry]]) -> None:
        """Write entries, each for what is left of its life: that which it has, or the TTL."""
        ttl, now = int(self._ttl * 1000), self._clock()
        named = {prefix + key.hex(): (key, entry) for prefix, key, entry in batch}
        pipe = client.pipeline(transaction=False)
        for name, (key, entry) in named.items():
            pipe.set(name, encode(key, entry, now + self._ttl), px=ttl, nx=True)
        there = [name for name, new in zip(named, pipe.execute(), strict=True) if not new]
        if not there:
            return
        # Two workers missed it at once, or what is there is spoiled.
        for name in there:
            pipe.pttl(name)
        for name, rest in zip(there, pipe.execute(), strict=True):
            left = rest if 0 < rest <= ttl else ttl
            pipe.set(name, encode(*named[name], now + left / 1000), px=left)
        pipe.execute()

    def _poll(self, client: Any) -> None:
        """Learn what has been cleared; leave word of this worker for ``cache stats``."""
        found = client.hgetall(self.names.generations)
        generations = {name.decode(): token.decode() for name, token in found.items()}
        if generations != self._generations:
            self._generations = generations
            self._cleared()
        if self._report is not None:
            client.hset(self.names.workers, *self._report())
            client.expire(self.names.workers, 24 * 3600)


class Space:
    """A `SharedCache` for one model and width, as it was when the request came."""

    def __init__(self, shared: SharedCache, prefix: str, width: int | None) -> None:
        self._shared, self._prefix, self._width = shared, prefix, width

    def find(self, keys: Sequence[bytes]) -> list[tuple[Entry, float] | None]:
        return self._shared.find(self._prefix, keys, self._width)

    def get(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return [known and known[0] for known in self.find(keys)]

    def put(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        self._shared.put(self._prefix, entries)


def _mget(client: Any, names: list[str]) -> list[bytes | None]:
    ask = getattr(client, "mget_nonatomic", None) or client.mget  # only a cluster's has the first
    values: list[bytes | None] = ask(names)
    return values
