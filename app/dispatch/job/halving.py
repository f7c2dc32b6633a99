"""Splits a part whose call was refused as too large. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

#: Parts of one request that are halved before the retry budget is charged for each further one.
MAX_FREE_HALVINGS = 16


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
