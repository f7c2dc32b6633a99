"""Results and the lease in a Redis or Valkey, so that one worker of all hosts makes the checks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from redis import RedisError
from redis.exceptions import RedisClusterException

from app.dispatch.drift.results import CheckResult, CheckResults, decode, encode
from app.redis.connect import Client, close, connect, without_secrets

T = TypeVar("T")

#: Seconds that one step (a connect, a read) may take.
STEP_TIMEOUT_S = 1.0
#: Seconds after which the lease of a worker that was killed ends. It is extended while checks run.
LEASE_S = 300.0
#: Seconds after which results that no worker has renewed are removed.
RESULTS_TTL_S = 90 * 86400

#: Extend or release the lease, if it is still this worker's.
_EXTEND = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2])"
_RELEASE = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1])"


class SharedUnavailable(Exception):
    """The server does not answer. A retry may succeed."""


class SharedResults:
    """A hash of results, and a lease. Every method raises `SharedUnavailable`.

    Only a background task calls it, so it may wait for the server; no request does.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._results, self._lease = f"{namespace}:space-check", f"{namespace}:space-check:lease"
        self._token = secrets.token_hex(8)
        self._client: Client | None = None

    def describe(self) -> str:
        """Return the address without its secrets."""
        return without_secrets(self._url)

    def read(self) -> CheckResults:
        """Return the results of all hosts; one that is damaged is left out."""
        found: Mapping[bytes, bytes] = self._ask(lambda client: client.hgetall(self._results))
        decoded = {key.decode(errors="replace"): decode(text) for key, text in found.items()}
        return {key: result for key, result in decoded.items() if result is not None}

    def publish(self, results: Mapping[str, CheckResult]) -> None:
        """Set these results, and remove those that are too old."""
        if not results:
            return
        too_old = time.time() - RESULTS_TTL_S
        stale = [key for key, result in self.read().items() if result.tried_at < too_old]
        values = {key: encode(result) for key, result in results.items()}

        def write(client: Client) -> None:
            client.hset(self._results, mapping=values)
            client.expire(self._results, RESULTS_TTL_S)
            if stale:
                client.hdel(self._results, *stale)

        self._ask(write)

    def acquire(self) -> bool:
        """Return whether this worker has the lease now."""
        milliseconds = int(LEASE_S * 1000)
        got: Any = self._ask(
            lambda client: client.set(self._lease, self._token, nx=True, px=milliseconds)
        )
        return bool(got)

    def extend(self) -> None:
        """Let the lease, if it is still this worker's, last `LEASE_S` from now."""
        milliseconds = int(LEASE_S * 1000)
        self._ask(lambda client: client.eval(_EXTEND, 1, self._lease, self._token, milliseconds))

    def release(self) -> None:
        """End the lease, if it is still this worker's."""
        self._ask(lambda client: client.eval(_RELEASE, 1, self._lease, self._token))

    def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                close(client)

    def _ask(self, function: Callable[[Client], T]) -> T:
        try:
            if self._client is None:
                self._client = connect(self._url, STEP_TIMEOUT_S)
            return function(self._client)
        except (RedisError, RedisClusterException, OSError) as error:
            self.close()
            raise SharedUnavailable(
                f"{self.describe()}: {type(error).__name__}: {error}"
            ) from error
