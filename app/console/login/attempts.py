"""Limits how often an address may try to log in."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network

from cachetools import LRUCache

from app.auth.authenticator import Address
from app.concurrency.locks import uncontended_lock

WINDOW_S = 60
#: Failed attempts of one address in a window, of one worker.
MAX_FAILURES = 10
#: Addresses whose attempts are counted; of more, the least recently used is dropped.
MAX_ADDRESSES_REMEMBERED = 10_000


class LoginAttempts:
    """Counts the failed attempts of each address in fixed windows of `WINDOW_S` seconds.

    The lock guards ``_failures``; nothing waits under it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = uncontended_lock()
        #: By address: the number of the window, and the failures in it.
        self._failures: LRUCache[str, tuple[int, int]] = LRUCache(MAX_ADDRESSES_REMEMBERED)

    def wait_s(self, address: Address | None) -> float:
        """Return the seconds until this address may try again; 0: it may now."""
        with self._lock:
            number, failures = self._failures.get(_network(address), (-1, 0))
        now = self._clock()
        if number != now // WINDOW_S or failures < MAX_FAILURES:
            return 0.0
        return (number + 1) * WINDOW_S - now

    def count_failure(self, address: Address | None) -> None:
        """Count a failed attempt."""
        name, current = _network(address), int(self._clock() // WINDOW_S)
        with self._lock:
            number, failures = self._failures.get(name, (current, 0))
            self._failures[name] = (current, failures + 1 if number == current else 1)


def _network(address: Address | None) -> str:
    """Return what is counted as one address: of IPv6 a /64, in which a host can use any address."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), 64), strict=False))
    return str(address)
