"""Splits a part whose call was refused as too large. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from app.dispatch.deployments.plan import TokenEstimate

#: Parts of one request that are halved before the retry budget is charged for each further one.
MAX_FREE_HALVINGS = 16


class Halving:
    """The parts that have taken the place of one whose call was too large.

    Once all of them are served, it is known that the size of the call was refused, and not one
    text that is too long for the model: calls are made smaller for a while.
    """

    def __init__(self, parts: int, estimate: TokenEstimate) -> None:
        self._missing = parts
        self._estimate = estimate

    def record_served(self) -> None:
        """Record that one of the parts has its vectors."""
        self._missing -= 1
        if not self._missing:
            self._estimate.raise_expectation()


def cuts_of_halves(tokens: Sequence[int], is_largest_served: bool) -> list[tuple[int, int]]:
    """Return (start, stop) of each smaller part of items of so many expected tokens.

    There are two cases. (1) The largest item is a part of its own, the first one in the result: if
    it is too long for the model, the request has failed after two calls. The others are halved.
    (2) ``is_largest_served``: that was done before; the items are halved.
    """
    size, half = len(tokens), len(tokens) // 2
    if is_largest_served:
        return [(0, half), (half, size)]
    position = max(range(size), key=tokens.__getitem__)
    largest = (position, position + 1)
    cuts = pairwise(sorted({0, half, size, *largest}))
    return [largest, *(cut for cut in cuts if cut != largest)]
