"""The address that a request comes from, as keys, ``/metrics`` and the log see it."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from app.auth.authenticator import Address, Network, is_in, networks

MAX_CHAINS_REMEMBERED = 1024  # pairs of a peer and what it says of its client


class ClientAddresses:
    """Finds the address of a client behind the proxies that ``TRUSTED_PROXIES`` names."""

    def __init__(self, trusted_proxies: Collection[str] = ()) -> None:
        self._trusted = networks(trusted_proxies)
        self._find = functools.lru_cache(MAX_CHAINS_REMEMBERED)(self._find_uncached)

    def find(self, environ: Mapping[str, Any]) -> Address | None:
        """Return the peer's address or, of X-Forwarded-For, what the last trusted proxy says.

        None where it is not known: "unknown", an address with a port, a Unix socket without a
        proxy before it.
        """
        return self._find(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""))

    def are_within(self, allowed: tuple[Network, ...], environ: Mapping[str, Any]) -> bool:
        """Whether the peer, and the client that it names, are both in these networks.

        nginx on this host is in them, its clients need not be. A peer that is not trusted, and
        names a client, may be any proxy: then the client is not known. A Unix socket has no
        address: its mode decides.
        """
        peer_text, forwarded = environ.get("REMOTE_ADDR", ""), "HTTP_X_FORWARDED_FOR" in environ
        names_client = forwarded or "HTTP_FORWARDED" in environ
        if peer_text:
            peer = parse_address(peer_text)
            if not is_in(peer, allowed) or (names_client and not is_in(peer, self._trusted)):
                return False
        if not names_client:
            return True
        # Of RFC 7239's header nothing is read, so its client is not known.
        return forwarded and is_in(self.find(environ), allowed)

    def _find_uncached(self, peer: str, forwarded: str) -> Address | None:
        address = parse_address(peer)
        named = forwarded.split(",")
        # A Unix socket's peer has no address, and is trusted.
        while named and (address is None or is_in(address, self._trusted)):
            if (text := named.pop().strip()) == "":
                continue
            address = parse_address(text)
            if address is None:
                return None
        return address


def parse_address(text: str) -> Address | None:
    """Return the address that a text is, IPv4 in IPv6 as IPv4; None where it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
