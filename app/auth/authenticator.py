"""Authenticate a key or token (step 2), and refuse blocked keys and wrong networks.

Keys of the settings are stored as SHA-256, and looked up in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from app.auth.blocklist import Blocklist
from app.config import KeySettings
from app.domain import Caller
from app.errors import KeyBlocked, KeysUnavailable, NetworkNotAllowed, Unauthorized, UserBlocked

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


#: Makes a digest with a secret key: without that, nothing can be guessed from it.
Seal = Callable[[bytes], str]
_PREFIX = "sk-"


class KeySource(Protocol):
    """A source of callers: the table of keys, or an identity provider."""

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Return the key's owner, and the networks that the key is bound to; empty: any network.

        Raises `Unauthorized` for an unknown key, `KeysUnavailable` if the source does not answer.
        """

    def remember(self, key: str, seal: Seal) -> Mapping[str, Any]:
        """Return what `recall` finds the key's owner by, without the key, as JSON can hold it.

        Raises like `identify`.
        """

    def recall(
        self, remembered: Mapping[str, Any], seal: Seal
    ) -> tuple[Caller, tuple[Network, ...]]:
        """Return what `identify` would return now for the key that `remember` was given.

        Raises like `identify`.
        """


class Authenticator:
    """Looks a key up in the settings, then in the other sources in order."""

    def __init__(
        self,
        keyring: Keyring,
        sources: Collection[KeySource] = (),
        blocklist: Blocklist | None = None,
    ) -> None:
        self._keyring = keyring
        self._sources = sources
        self._blocklist = blocklist or Blocklist()

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """Return a key's owner, and the networks that the key is bound to.

        There are three cases: (1) a source knows the key; (2) no source knows it, and all have
        answered: `Unauthorized`; (3) no source knows it, and one is unavailable: `KeysUnavailable`,
        as the key may be valid.
        """
        try:
            return self._keyring.identify(key), ()
        except Unauthorized as error:
            unknown = error
        unavailable: KeysUnavailable | None = None
        for source in self._sources:
            try:
                return source.identify(key)
            except Unauthorized as error:
                unknown = error
            except KeysUnavailable as error:
                unavailable = error
        raise unavailable or unknown

    def remember(self, key: str, seal: Seal) -> Mapping[str, Any]:
        """Return what a session keeps of a key or token instead of it. Raises like `identify`."""
        return self._first_answer(lambda source: source.remember(key, seal))

    def recall(
        self, remembered: Mapping[str, Any], seal: Seal
    ) -> tuple[Caller, tuple[Network, ...]]:
        """Return the owner of the key that a session began with, as it is now.

        Raises `Unauthorized` where that key has ended, and like `identify`.
        """
        return self._first_answer(lambda source: source.recall(remembered, seal))

    def _first_answer(self, ask: Callable[[KeySource | Keyring], T]) -> T:
        """Return the first answer of the settings' keys and the other sources, as `identify`."""
        unknown: Unauthorized | None = None
        unavailable: KeysUnavailable | None = None
        sources: list[KeySource | Keyring] = [self._keyring, *self._sources]
        for source in sources:
            try:
                return ask(source)
            except Unauthorized as error:
                unknown = error
            except KeysUnavailable as error:
                unavailable = error
        raise unavailable or unknown or Unauthorized("Incorrect API key provided.")

    def check(self, caller: Caller, bound_to: tuple[Network, ...], address: Address | None) -> None:
        """Refuse a blocked key, and a key used outside the networks that it is bound to.

        Raises `KeyBlocked` or `NetworkNotAllowed`.
        """
        if self._blocklist.blocks_key(caller.name):
            raise KeyBlocked("This key is blocked. Ask the operators of this service.")
        if bound_to and not is_in(address, bound_to):
            raise NetworkNotAllowed("This key may not be used from your network.")

    def check_user(self, user: str) -> None:
        """Raise `UserBlocked` for a blocked end user."""
        if self._blocklist.blocks_user(user):
            raise UserBlocked("This user is blocked. Ask the operators of this service.")


def networks(given: Collection[str]) -> tuple[Network, ...]:
    """Parse addresses and networks; ``*`` stands for every address. Raises ValueError."""
    return tuple(
        ipaddress.ip_network(network)
        for text in given
        for network in (("0.0.0.0/0", "::/0") if text == "*" else (text,))
    )


def is_in(address: Address | None, allowed: tuple[Network, ...]) -> bool:
    """Return whether an address is known and in one of these networks."""
    return address is not None and any(address in network for network in allowed)


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
        digest = digest_of(key)
        known, caller = self._callers.get(digest, self._unknown)
        if hmac.compare_digest(known, digest) and caller is not None:
            return caller
        raise Unauthorized("Incorrect API key provided.")

    def remember(self, key: str, seal: Seal) -> Mapping[str, Any]:
        """Return what `recall` finds the key's owner by, without the key. Raises `Unauthorized`."""
        return {"name": self.identify(key).name, "seal": seal(digest_of(key))}

    def recall(self, remembered: Mapping[str, Any], seal: Seal) -> tuple[Caller, tuple[()]]:
        """Return the owner of the key that `remember` was given. Raises `Unauthorized`."""
        for digest, caller in self._callers.values():
            if is_remembered(caller, digest, remembered, seal):
                return caller, ()
        raise Unauthorized("The key of this session has ended.")


def digest_of(key: str) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def is_remembered(caller: Caller, digest: bytes, remembered: Mapping[str, Any], seal: Seal) -> bool:
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
