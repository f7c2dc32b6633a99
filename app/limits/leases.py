"""Shares quotas and slots between all workers and hosts, by leases of a Redis or Valkey.

A background task asks the server for leases, so that no call waits for a round trip of its own. The
arithmetic of a worker is `app.dispatch.leased_quota`, that of the server `app.limits.lease_script`;
for slots `app.dispatch.leased_slots` and `app.limits.slot_lease_script`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha1
from typing import Any, Generic, Protocol, TypeVar

from redis.exceptions import NoScriptError

from app.dispatch.lease import Exchange, Lease
from app.dispatch.leased_quota import EXCHANGE_S, LEASE_S, LeasedQuota
from app.dispatch.quota_window import BURST_SHARE, WINDOW_S
from app.limits.lease_script import EXCHANGE
from app.limits.worker_names import new_worker_name
from app.redis.client import BestEffortClient

_SHA = sha1(EXCHANGE.encode(), usedforsecurity=False).hexdigest()
L = TypeVar("L", bound="Leased")


class Leased(Protocol):
    """What a worker leases: a `LeasedQuota`, or the slots of a `LeasedSlotQueue`."""

    on_need: Callable[[], None] | None

    def join(self, now: float) -> None: ...

    def start_exchange(self, now: float, is_leaving: bool = False) -> Any: ...

    def end_exchange(self, exchange: Any, lease: Any, now: float) -> bool: ...


class Leases(Generic[L]):
    """Keeps the leases of one worker. ``leased`` is what it leases, by name.

    ``purpose`` names that in the log and in the server's keys. ``ask`` makes one exchange; those of
    all names are made every ``round_s``. ``resume`` is called with a name when calls that wait for
    that may leave.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        timeout_s: float,
        purpose: str,
        leased: Mapping[str, L],
        ask: Callable[[Any, str, str, L, Any], Any],
        resume: Callable[[str], None],
        round_s: float = EXCHANGE_S,
    ) -> None:
        self._prefix = f"{namespace}:{purpose}:1:"
        self._leased = leased
        self._ask = ask
        self._resume = resume
        self._worker = ""
        self._needed: set[str] = set()  # names that need an exchange before the next round
        self._is_leaving = False
        self.remote = BestEffortClient(url, timeout_s, purpose, self._exchange, round_s=round_s)

    def start(self) -> None:
        """Start the background task, in the process that serves."""
        self._worker = new_worker_name()
        self.remote.start()
        for name, leased in self._leased.items():
            leased.on_need = partial(self._need, name)
            leased.join(time.monotonic())

    def close(self) -> None:
        """Return all leases, and close the connections."""
        self._is_leaving = True
        self.remote.close()

    def _need(self, name: str) -> None:
        self._needed.add(name)
        self.remote.wake()

    def _exchange(self, client: Any, is_due: bool) -> None:
        """Exchange what is needed with the server; called by the task of ``remote``."""
        names = list(self._leased) if is_due or self._is_leaving else list(self._needed)
        try:
            for name in names:
                self._needed.discard(name)
                if not self._exchange_one(client, name):
                    self._exchange_one(client, name)
        except BaseException:
            for name, leased in self._leased.items():  # a lease is of no use without the next
                now = time.monotonic()
                leased.end_exchange(leased.start_exchange(now), None, now)
                self._resume(name)
            raise

    def _exchange_one(self, client: Any, name: str) -> bool:
        """Make one exchange; return False for a worker that has to report again."""
        leased = self._leased[name]
        exchange = leased.start_exchange(time.monotonic(), self._is_leaving)
        lease = None
        try:
            lease = self._ask(client, self._prefix + name, self._worker, leased, exchange)
        finally:
            leased.end_exchange(exchange, lease, time.monotonic())
        self._resume(name)
        return lease is None or lease.is_known or exchange.is_leaving


def ask_for_quota(
    client: Any,
    redis_key: str,
    worker: str,
    quota: LeasedQuota,
    exchange: Exchange,
    now: float | None = None,
) -> Lease:
    """Make one exchange of a quota with the server. ``now`` None: the server's clock."""
    arguments: list[Any] = ["" if now is None else repr(now), worker, int(exchange.is_leaving)]
    arguments += [LEASE_S, WINDOW_S, BURST_SHARE, *("" if n is None else n for n in quota.whole)]
    for amounts in (exchange.kept, exchange.needed, exchange.wanted):
        arguments += [f"{amount:.0f}" for amount in amounts]
    arguments.append(exchange.final)
    for age, tokens in exchange.calls:
        arguments += [f"{age:.6f}", tokens]
    try:
        reply = client.evalsha(_SHA, 1, redis_key, *arguments)
    except NoScriptError:  # the server has restarted and lost its scripts
        reply = client.eval(EXCHANGE, 1, redis_key, *arguments)
    leased, known, *numbers = (int(value) for value in reply)
    calls, tokens, members, window_ms, pace_ms, spare_calls, spare_tokens, share_ms, rank = numbers
    return Lease(
        bool(leased),
        bool(known),
        calls,
        tokens,
        members,
        window_ms / 1000,
        pace_ms / 1000,
        spare_calls,
        spare_tokens,
        share_ms / 1000,
        rank,
    )
