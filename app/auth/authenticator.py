"""Step 2: who asks, by whichever way callers are known here; and who is turned away."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Protocol

from app.auth.keys import Keyring
from app.domain import Caller
from app.errors import KeyBlocked, KeysUnavailable, NetworkNotAllowed, Unauthorized

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class KeySource(Protocol):
    """Raises `Unauthorized` for what it does not know, `KeysUnavailable` where it cannot tell."""

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """The owner, and the networks it may ask from; none: from everywhere."""


class Authenticator:
    """Asks the settings' keys, then the other sources in order."""

    def __init__(
        self,
        keyring: Keyring,
        sources: Collection[KeySource] = (),
        blocked: Collection[str] = (),
    ) -> None:
        self._keyring = keyring
        self._sources = sources
        self._blocked = blocked

    def identify(self, key: str) -> tuple[Caller, tuple[Network, ...]]:
        """The owner of a key, and the networks it may ask from. Raises `ClientError`.

        A source that is away is passed over, since another may know the key. Only where none does
        is the answer that this cannot be known now.
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

    def check(self, caller: Caller, bound_to: tuple[Network, ...], address: Address | None) -> None:
        """Turn away who is known but may not come in. Raises `ClientError`."""
        if caller.name in self._blocked:
            raise KeyBlocked("This key is blocked. Ask the operators of this service.")
        if bound_to and not is_in(address, bound_to):
            raise NetworkNotAllowed("This key may not be used from your network.")


def networks(given: Collection[str]) -> tuple[Network, ...]:
    """Addresses and networks; ``*`` is any."""
    found: list[Network] = []
    for text in given:
        for one in ("0.0.0.0/0", "::/0") if text == "*" else (text,):
            found.append(ipaddress.ip_network(one))
    return tuple(found)


def is_in(address: Address | None, allowed: tuple[Network, ...]) -> bool:
    """Whether an address is known and in one of these networks."""
    return address is not None and any(address in network for network in allowed)
