"""Keys: known only by their SHA-256, looked up in constant time whatever their number."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from app.config import KeySettings
from app.domain import Caller
from app.errors import Unauthorized

_PREFIX = "sk-"


class Keyring:
    """The keys of the settings.

    A key is found by its whole digest: what a timing of the look-up could tell is a part of the
    digest of a guess, from which no digest of a key follows. The comparison itself is constant.
    """

    def __init__(self, keys: Iterable[KeySettings]) -> None:
        self._callers = {
            (digest := bytes.fromhex(key.sha256)): (digest, caller_of(key)) for key in keys
        }
        self._nobody = (secrets.token_bytes(32), None)

    def identify(self, key: str) -> Caller:
        """The owner of a key, or `Unauthorized`."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        known, caller = self._callers.get(digest, self._nobody)
        if hmac.compare_digest(known, digest) and caller is not None:
            return caller
        raise Unauthorized("Incorrect API key provided.")


def caller_of(key: KeySettings) -> Caller:
    """What a key's owner may do."""
    return Caller(**{name: getattr(key, name) for name in Caller.__slots__})


def new_key() -> tuple[str, str]:
    """A new key of 256 bits and its SHA-256 in hex."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()
