"""Asks a Redis or Valkey for leases of a deployment's quota: see `app.dispatch.leased_quota`."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError

from app.dispatch.lease import LEASE_S, Exchange, Lease
from app.dispatch.leased_quota import LeasedQuota
from app.dispatch.quota_window import BURST_SHARE, WINDOW_S
from app.limits.lease_script import EXCHANGE

_SHA = sha1(EXCHANGE.encode(), usedforsecurity=False).hexdigest()


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
