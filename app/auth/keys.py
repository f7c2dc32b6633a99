"""Keys of the settings, stored as SHA-256 and looked up in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.config import KeySettings
from app.domain import Caller
from app.errors import Unauthorized

_PREFIX = "sk-"


class Keyring:
    """Finds the owner of a key among those of the settings.

    The look-up is by digest, and the final comparison takes constant time. The time of a look-up
    can reveal at most a part of a stored digest, from which the key cannot be derived.
    """

    def __init__(self, keys: Iterable[KeySettings]) -> None:
        self._callers = {
            (digest := bytes.fromhex(key.sha256)): (digest, caller_of(key)) for key in keys
        }
        self._unknown = (secrets.token_bytes(32), None)  # compared for unknown keys: same time

    def identify(self, key: str) -> Caller:
        """Return the owner of a key. Raises `Unauthorized`."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        known, caller = self._callers.get(digest, self._unknown)
        if hmac.compare_digest(known, digest) and caller is not None:
            return caller
        raise Unauthorized("Incorrect API key provided.")

    def remember(self, key: str, seal: Callable[[bytes], str]) -> Mapping[str, Any]:
        """Return what `recall` finds the key's owner by, without the key. Raises `Unauthorized`."""
        return {"name": self.identify(key).name, "seal": seal(digest_of(key))}

    def recall(
        self, remembered: Mapping[str, Any], seal: Callable[[bytes], str]
    ) -> tuple[Caller, tuple[()]]:
        """Return the owner of the key that `remember` was given. Raises `Unauthorized`."""
        for digest, caller in self._callers.values():
            if is_remembered(caller, digest, remembered, seal):
                return caller, ()
        raise Unauthorized("The key of this session has ended.")


def digest_of(key: str) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def is_remembered(
    caller: Caller, digest: bytes, remembered: Mapping[str, Any], seal: Callable[[bytes], str]
) -> bool:
    """Return whether this key is the one that a session remembers."""
    if remembered.get("name") != caller.name:
        return False
    return hmac.compare_digest(str(remembered.get("seal")), seal(digest))


def caller_of(key: KeySettings) -> Caller:
    """Return the caller that a key of the settings identifies."""
    values = {name: getattr(key, name) for name in Caller.__slots__}
    tiers = frozenset(key.service_tiers)  # a list in rows of the table and in claims
    return Caller(**values | {"service_tiers": tiers})


def new_key() -> tuple[str, str]:
    """Make a key of 256 random bits; return it and its SHA-256 in hex."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()
