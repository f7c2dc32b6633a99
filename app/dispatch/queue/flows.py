"""The flow of a request without an end user: that of the requests of its size. Pure."""

from __future__ import annotations

from app.domain import Flow

#: Names of the sizes up to 1, 8, 64, 512 … items, by the bits of the number of items less 1. No end
#: user has such a name.
_SIZES = [f"\0{8 ** -(-bits // 3)}" for bits in range(64)]


def with_size(flow: Flow, items: int) -> Flow:
    """Return the flow of a request of so many items.

    Where the key does not divide its share among end users, it divides it among sizes of requests,
    so that its small requests do not wait until all its large ones have left.
    """
    if flow.user:
        return flow
    return Flow(flow.key, flow.share, flow.tier, _SIZES[(items - 1).bit_length()])
