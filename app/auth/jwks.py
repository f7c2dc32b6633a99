"""The public keys of an identity provider (JWKS, RFC 7517), fetched in the background.

A token may name a key id that is not known. There are three cases: (1) the provider has rotated its
keys, (2) the token is forged, (3) the token is old. Only a fetch that began after the token arrived
can distinguish them, so the request waits for such a fetch. Fetches begin at least
`MIN_REFETCH_INTERVAL_S` apart, however many requests wait: tokens with invented ids delay a good
token by at most that time. If no fetch succeeds, the error is `KeysUnavailable`, a 503, and not
`Unauthorized`.

`jwt.PyJWKClient` is not used: it fetches within the request, under a lock; an unknown id of any
caller starts a cooldown in which no other fetch begins; its timeout bounds one read and not the
whole response, and the size of the document has no bound.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

import jwt
from cachetools import LRUCache

from app.auth.jwks_fetch import fetch
from app.auth.snapshots import JwksSnapshot
from app.concurrency.periodic import PeriodicTask
from app.errors import KeysUnavailable

_log = logging.getLogger("app.auth")

#: Seconds between the beginnings of two fetches.
MIN_REFETCH_INTERVAL_S = 2.0
#: Seconds for which a request waits for a fetch.
REFETCH_WAIT_S = 5.0
#: Requests that wait for a fetch at one time; further ones get a 503.
MAX_WAITING = 64
#: Seconds for which an id that was not in a valid document causes no further fetch.
MISSING_S = 10.0
MAX_MISSING_REMEMBERED = 1000
#: Seconds between a failed fetch and the next one, where no request waits for a fetch.
RETRY_S = 15.0

Fetch = Callable[[str], bytes]
#: What a fetch raises, and what a document that is no JWKS raises (nested too deeply: recursion).
_FETCH_ERRORS = (OSError, ValueError, RecursionError, http.client.HTTPException, jwt.PyJWTError)


class Jwks:
    """The public keys of one identity provider, by key id. `start` it in the process that serves.

    The condition guards all fields except ``_keys``, which is replaced as a whole.
    """

    def __init__(
        self,
        url: str,
        refresh_s: float,
        get: Fetch | None = None,
        *,
        min_interval_s: float = MIN_REFETCH_INTERVAL_S,
        wait_s: float = REFETCH_WAIT_S,
        snapshot: JwksSnapshot | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._url, self._refresh_s, self._get = url, refresh_s, get or fetch
        self._min_interval_s, self._wait_s = min_interval_s, wait_s
        self._keys: Mapping[str | None, jwt.PyJWK] | None = None
        self.version = 0  # counts the changes of the keys
        self._data = b""  # the document that `_keys` was made from
        self._condition = threading.Condition()
        # Fetches are numbered from 1.
        self._last_begun = self._last_ended = self._last_succeeded = 0
        self._begun_at = -math.inf  # when the last fetch began, monotonic
        self._is_fetch_wanted = False  # a request waits for a fetch that has not begun
        self._waiting = 0  # requests that wait for a fetch
        self._missing: LRUCache[str | None, float] = LRUCache(MAX_MISSING_REMEMBERED)
        self._task = PeriodicTask("access-jwks", self._update_if_due, min(RETRY_S, refresh_s))

    def start(self) -> None:
        """Start the fetches; the first begins at once, in the background.

        Until one succeeds, the keys are those of the snapshot.
        """
        data = self._snapshot.read() if self._snapshot is not None else None
        if data is not None:
            try:
                self._replace_keys(data)
            except _FETCH_ERRORS as error:
                _log.warning("the copy of the JWKS cannot be read: %s", error)
        self._task.start()

    def stop(self) -> None:
        """End the fetches, and with `KeysUnavailable` the requests that wait for one."""
        self._task.stop()
        with self._condition:
            self._condition.notify_all()

    def find_known(self, kid: str | None) -> jwt.PyJWK | None:
        """Return the key with this id if it is in memory; never waits."""
        return (self._keys or {}).get(kid)

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """Return the key with this id, after a fetch if it is not in memory; None: no such key.

        Raises `KeysUnavailable` if no fetch succeeds in time.
        """
        key = self.find_known(kid)
        if key is not None:
            return key
        with self._condition:
            if self._missing.get(kid, 0.0) > time.monotonic():
                return None
            if self._waiting >= MAX_WAITING:
                raise _unavailable()
            self._waiting += 1
            try:
                return self._wait_for(kid)
            finally:
                self._waiting -= 1

    def _wait_for(self, kid: str | None) -> jwt.PyJWK | None:
        """Wait for the key, or for the end of a fetch that begins after this call.

        The condition is held.
        """
        last_begun, end = self._last_begun, time.monotonic() + self._wait_s
        self._is_fetch_wanted = True
        self._task.wake()
        while self._last_ended <= last_begun:
            key = self.find_known(kid)
            if key is not None:
                return key
            remaining_s = end - time.monotonic()
            if remaining_s <= 0 or self._task.is_stopping:
                raise _unavailable()
            self._condition.wait(remaining_s)
        if self._last_succeeded <= last_begun:
            raise _unavailable()
        key = self.find_known(kid)
        if key is None:
            self._missing[kid] = time.monotonic() + MISSING_S
        return key

    # In the background

    def _update_if_due(self) -> float:
        """Fetch the keys if it is time; return the seconds until the next fetch is due.

        There are three cases: the next fetch begins (1) `MIN_REFETCH_INTERVAL_S` after the last
        began if a request waits for one, (2) else ``refresh_s`` seconds after it if it succeeded,
        (3) else `RETRY_S` after it.
        """
        if (pause_s := self._seconds_until_due()) > 0:
            return pause_s
        self.update()
        return self._seconds_until_due()

    def _seconds_until_due(self) -> float:
        with self._condition:
            if self._is_fetch_wanted:
                interval_s = self._min_interval_s
            elif self._last_succeeded == self._last_ended:
                interval_s = self._refresh_s
            else:
                interval_s = min(RETRY_S, self._refresh_s)
            return self._begun_at + interval_s - time.monotonic()

    def update(self) -> None:
        """Fetch the keys; after a failure those of the last valid document stay in use."""
        with self._condition:
            self._last_begun += 1
            self._begun_at = time.monotonic()
            number, self._is_fetch_wanted = self._last_begun, False
        is_valid = False
        try:
            self._replace_keys(data := self._get(self._url))
            is_valid = True
            if self._snapshot is not None:
                self._snapshot.write(data)
        except _FETCH_ERRORS as error:
            _log.warning("the JWKS cannot be read: %s: %s", type(error).__name__, error)
        finally:
            with self._condition:
                self._last_ended = number
                if is_valid:
                    self._last_succeeded = number
                self._condition.notify_all()

    def _replace_keys(self, data: bytes) -> None:
        if data != self._data:
            self._keys = signing_keys(data)
            self._data = data
            self.version += 1


def _unavailable() -> KeysUnavailable:
    return KeysUnavailable("Tokens cannot be checked now. Try again.", retry_after=5)


def signing_keys(data: bytes) -> dict[str | None, jwt.PyJWK]:
    """Return the signing keys of a JWKS by id; a single key is also found under the id None.

    Raises ValueError or PyJWTError if there is no such key.
    """
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    keys: dict[str | None, jwt.PyJWK] = {
        key.key_id: key
        for key in jwt.PyJWKSet.from_dict(document)  # skips keys that PyJWT cannot use
        # A key of the kind "oct" is a shared secret, and this document is public.
        if key.key_type != "oct"
        and key.public_key_use in (None, "sig")
        and isinstance(key.key_id, str | None)
    }
    if not keys:
        raise ValueError("no key in it can check a signature")
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys
