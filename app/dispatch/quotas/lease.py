"""What a worker asks of the store of a shared quota, and the answer. See `leased_quota`. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Seconds for which a lease lasts.
LEASE_S = 5.0
#: Seconds for which a worker that starts waits for the store's first answer.
JOIN_S = 1.0
#: Seconds after which a queue that waits for a lease is checked again, at the latest.
POLL_S = 0.25
#: Seconds between two exchanges of a worker, at most.
EXCHANGE_S = 1.0
#: A worker leases what it needs in so many seconds.
AHEAD_S = 1.0
#: The share of the quota that all workers together may lease without need.
IDLE_SHARE = 0.02
#: Calls and tokens.
Amount = tuple[float, float]


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a worker asks for, and the final calls that it reports: (seconds since sent, tokens)."""

    at: float
    kept: Amount  # calls and tokens, those of calls that are not final among them
    needed: Amount  # the least with which a waiting call may leave; 0: none waits
    wanted: Amount  # what the worker expects to use in `AHEAD_S`, if not more is needed
    calls: list[tuple[float, int]]  # in the order in which they became final
    final_ever: int  # calls that ever became final
    is_leaving: bool  # the worker ends, and returns all


@dataclass(frozen=True, slots=True)
class Lease:
    """The store's answer."""

    is_leased: bool  # False for a worker that ends
    is_known: bool  # the store knew the worker; else it took no report
    calls: float
    tokens: float
    members: int  # workers that use the quota
    window_wait: float  # seconds until the minute has room for what was needed; 0: it was leased
    pace_wait: float  # seconds until what was needed is due at the rate of the quota
    # For the case that no later answer comes: see `LeasedQuota._begin_share`.
    spare_calls: float  # free in this minute, and not leased even by a burst in the next 2 s
    spare_tokens: float  # the same of tokens
    share_wait: float  # seconds until the shares of all workers fit into the minute beside leases
    rank: int  # number of workers before this one: the first ones share the remainder of a division


def lease_size(rates: Sequence[float], requests: float | None, members: int) -> tuple[int, int]:
    """Return the calls and tokens to lease at these ``rates`` a second.

    A worker without calls leases one, where the quota is large enough for that (`IDLE_SHARE`).
    """
    calls, tokens = (math.ceil(rate * AHEAD_S) for rate in rates)
    if requests is None or requests * IDLE_SHARE >= members:
        mean = math.ceil(rates[1] / rates[0]) if rates[0] > 0.01 else 0
        return max(calls, 1), max(tokens, mean)
    return calls, tokens


def amounts(
    limits: tuple[float | None, float | None],
    held: Amount,
    size: tuple[int, int],
    needed_tokens: int,
) -> tuple[Amount, Amount, Amount]:
    """Return what to keep of a lease, and what is needed and wanted in addition.

    ``needed_tokens`` are those of a call that waits, -1 for none. While one waits all is kept.
    """
    waits = needed_tokens >= 0
    need = (1, needed_tokens) if waits else (0, 0)
    kept, needed, wanted = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for unit, limit in enumerate(limits):
        if limit is not None:
            kept[unit] = held[unit] if waits else min(held[unit], size[unit])
            needed[unit] = max(0.0, need[unit] - kept[unit]) if waits else 0.0
            wanted[unit] = max(needed[unit], size[unit] - kept[unit], 0.0)
    return (kept[0], kept[1]), (needed[0], needed[1]), (wanted[0], wanted[1])


def share_of(
    whole: tuple[float | None, float | None], members: int, rank: int | None = None
) -> tuple[float | None, float | None]:
    """Return a worker's share of the calls and tokens a minute; None is no limit.

    ``rank`` is its position among the ``members``: its share of the calls is then whole calls, so
    that all shares together are the quota, and some are 0 where there are more workers than calls.
    """
    requests, tokens = whole
    calls = None if requests is None else requests / members
    if requests is not None and rank is not None:
        each, remainder = divmod(int(requests), members)
        calls = each + 1 if rank < remainder else each
    return calls, None if tokens is None else tokens / members
