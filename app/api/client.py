"""The client of a request: its address behind trusted proxies, and whether it still waits."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection, Mapping
from typing import Any

from app.auth.authenticator import Address, Network, is_in, networks
from app.concurrency.peer import has_closed

MAX_CHAINS_REMEMBERED = 1024  # pairs of a peer's address and its X-Forwarded-For


class ClientAddresses:
    """Finds the address of a client behind the proxies that ``TRUSTED_PROXIES`` names."""

    def __init__(self, trusted_proxies: Collection[str] = ()) -> None:
        self._trusted = networks(trusted_proxies)
        self._find = functools.lru_cache(MAX_CHAINS_REMEMBERED)(self._find_uncached)

    def find(self, environ: Mapping[str, Any]) -> Address | None:
        """Return the client's address; None if it is not known.

        X-Forwarded-For is read from the right. There are three cases: (1) the peer is not a trusted
        proxy: its own address; (2) it is one: the last address that is not a trusted proxy's; (3)
        that entry is no address ("unknown", or with a port), or the peer is a Unix socket and names
        no client: None.
        """
        return self._find(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""))

    def are_within(self, allowed: tuple[Network, ...], environ: Mapping[str, Any]) -> bool:
        """Return whether the peer and the client that it names are both in these networks.

        The client is checked too, as a reverse proxy on this host is in them and its clients may
        not be. A peer that names a client and is not a trusted proxy is refused: the client is not
        known then. A peer on a Unix socket has no address; the mode of the socket's file protects
        it.
        """
        peer_text, forwarded = environ.get("REMOTE_ADDR", ""), "HTTP_X_FORWARDED_FOR" in environ
        names_client = forwarded or "HTTP_FORWARDED" in environ
        if peer_text:
            peer = parse_address(peer_text)
            if not is_in(peer, allowed) or (names_client and not is_in(peer, self._trusted)):
                return False
        if not names_client:
            return True
        # RFC 7239's Forwarded header is not parsed, so its client is not known.
        return forwarded and is_in(self.find(environ), allowed)

    def uses_https(self, environ: Mapping[str, Any]) -> bool:
        """Return whether the client's connection is encrypted, as far as a trusted proxy says.

        Of several values of X-Forwarded-Proto the first is that of the client's connection.
        """
        if environ.get("wsgi.url_scheme") == "https":
            return True
        peer = parse_address(environ.get("REMOTE_ADDR", ""))
        is_trusted = peer is None or is_in(peer, self._trusted)
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").partition(",")[0]
        return is_trusted and scheme.strip().lower() == "https"

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
    """Parse an address, IPv4 mapped in IPv6 as IPv4; None if the text is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def has_left(environ: Mapping[str, Any]) -> bool:
    """Return whether the client has closed its connection, also where only its sending side.

    nginx and Go's net/http take both for the same, too: the end of what a client sends does not say
    whether it still reads. False where the server does not give its socket, as in a test client.
    """
    sock = environ.get("gunicorn.socket")
    return sock is not None and has_closed(sock)
