"""The public keys of an identity provider (JWKS, RFC 7517), fetched by a thread of their own.

A token may name a key that is not known, for one of three reasons: the provider rotates its keys,
the token is forged, or it is old. Only a fetch that began after the token came can tell, so the
request waits for one. Fetches begin at least `MIN_REFETCH_INTERVAL_S` apart, however many ask: a
stranger who invents ids delays a good token by as much, and does not shut it out. Where no fetch
succeeds the answer is "unavailable" and not "wrong".

`jwt.PyJWKClient` is not used: it fetches within the request, under a lock; an unknown id of any
caller starts a cooldown in which no other fetch begins; its timeout bounds one read and not the
whole answer, and nothing bounds the size of the document.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping

import jwt
from cachetools import LRUCache

from app.auth.jwks_fetch import fetch
from app.errors import KeysUnavailable

_log = logging.getLogger("app.access")

#: Seconds between the beginnings of two fetches.
MIN_REFETCH_INTERVAL_S = 2.0
#: Seconds that a request waits for a fetch.
REFETCH_WAIT_S = 5.0
#: Requests that wait for one; more are told to come back.
MAX_WAITING = 64
#: Seconds for which an id that a good document did not hold is not looked for again.
MISSING_S = 10.0
MAX_MISSING_REMEMBERED = 1000
#: Seconds after a failed fetch until the next, where no request asks for one.
RETRY_S = 15.0

Fetch = Callable[[str], bytes]


class Jwks:
    """The keys by their id. `start` it in the process that serves.

    The condition guards all fields but the keys themselves, which are replaced as a whole.
    """

    def __init__(
        self,
        url: str,
        refresh: float,
        get: Fetch | None = None,
        *,
        min_interval: float = MIN_REFETCH_INTERVAL_S,
        wait: float = REFETCH_WAIT_S,
    ) -> None:
        self._url, self._refresh, self._get = url, refresh, get or fetch
        self._min_interval, self._wait = min_interval, wait
        self._keys: Mapping[str | None, jwt.PyJWK] | None = None
        self.version = 0  # counts the changes of the keys
        self._data = b""
        self._condition = threading.Condition()
        self._begun = 0  # fetches
        self._ended = 0  # the number of the last fetch that ended
        self._succeeded = 0  # the number of the last fetch that gave a good document
        self._wanted = False  # by a request
        self._waiting = 0
        self._missing: LRUCache[str | None, float] = LRUCache(MAX_MISSING_REMEMBERED)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="access-jwks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def known(self, kid: str | None) -> jwt.PyJWK | None:
        """The key with this id, as far as is known now."""
        return (self._keys or {}).get(kid)

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """The key with this id, after a fetch if need be; None where there is none.

        Raises `KeysUnavailable` where that cannot be known.
        """
        key = self.known(kid)
        if key is not None:
            return key
        with self._condition:
            if self._missing.get(kid, 0.0) > time.monotonic():
                return None
            if self._waiting >= MAX_WAITING:
                raise _unavailable()
            self._waiting += 1
            try:
                return self._await(kid)
            finally:
                self._waiting -= 1

    def _await(self, kid: str | None) -> jwt.PyJWK | None:
        """Wait for the key, or for a fetch that begins from now on; the condition is held."""
        before, end = self._begun, time.monotonic() + self._wait
        self._wanted = True
        self._condition.notify_all()
        while self._ended <= before:
            key = self.known(kid)
            if key is not None:
                return key
            left = end - time.monotonic()
            if left <= 0 or self._stopped:
                raise _unavailable()
            self._condition.wait(left)
        if self._succeeded <= before:
            raise _unavailable()
        key = self.known(kid)
        if key is None:
            self._missing[kid] = time.monotonic() + MISSING_S
        return key

    # The thread

    def _run(self) -> None:
        while not self._stopped:
            began = time.monotonic()
            self.update()
            with self._condition:
                well = self._succeeded == self._ended
                regular = began + (self._refresh if well else min(RETRY_S, self._refresh))
                while not self._stopped:
                    due = began + self._min_interval if self._wanted else regular
                    left = due - time.monotonic()
                    if left <= 0:
                        break
                    self._condition.wait(left)

    def update(self) -> None:
        """Fetch the keys; the old ones stay where that fails, whatever the failure."""
        with self._condition:
            self._begun += 1
            number, self._wanted = self._begun, False
        good = False
        try:
            good = self._take(self._get(self._url))
        except (OSError, ValueError, http.client.HTTPException, jwt.PyJWTError) as error:
            _log.warning("the JWKS cannot be read: %s: %s", type(error).__name__, error)
        except Exception:  # a bug must not end the thread: keys are rotated
            _log.exception("the JWKS cannot be read")
        finally:
            with self._condition:
                self._ended = number
                if good:
                    self._succeeded = number
                self._condition.notify_all()

    def _take(self, data: bytes) -> bool:
        if data != self._data:
            self._keys = signing_keys(data)
            self._data = data
            self.version += 1
        return True


def _unavailable() -> KeysUnavailable:
    return KeysUnavailable("Tokens cannot be checked now. Try again.", retry_after=5)


def signing_keys(data: bytes) -> dict[str | None, jwt.PyJWK]:
    """The keys of a JWKS by id; one alone is found without an id too.

    Raises ValueError or PyJWTError where there is none.
    """
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    keys: dict[str | None, jwt.PyJWK] = {
        key.key_id: key
        for key in jwt.PyJWKSet.from_dict(document)  # without those that it cannot use
        # A key of the kind "oct" is a secret, and this document is public.
        if key.key_type != "oct"
        and key.public_key_use in (None, "sig")
        and isinstance(key.key_id, str | None)
    }
    if not keys:
        raise ValueError("no key in it can check a signature")
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys
