"""A histogram of latencies, fine enough for percentiles, which can be added over processes."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy

#: Upper bounds in seconds, each a fifth (2 ** 0.25) above the one before: 0.2 ms to 6 minutes.
BOUNDS = tuple(0.0002 * 2 ** (n / 4) for n in range(84))
LAST = len(BOUNDS) - 1


def place_of(seconds: float) -> int:
    """Return the place of a latency in the histogram; those over the last bound count there."""
    return min(bisect_left(BOUNDS, seconds), LAST)


def percentile(counts: Any, share: float) -> list[float | None]:
    """Return the latency, in seconds, that this share of the requests is not above.

    ``counts`` has a row for each result, with the numbers by place; None: it has no requests.
    Between two bounds the latency is interpolated, so it is at most a fifth from the exact one.
    """
    counts = numpy.asarray(counts, dtype=float)
    below = counts.cumsum(axis=1)
    totals = below[:, -1]
    wanted = share * totals
    places = (below >= wanted[:, None]).argmax(axis=1)
    rows = numpy.arange(len(counts))
    inside = counts[rows, places]
    upper = numpy.array(BOUNDS)[places]
    lower = numpy.array((0.0, *BOUNDS))[places]
    position = 1 - (below[rows, places] - wanted) / numpy.where(inside > 0, inside, 1)
    found = lower + (upper - lower) * position.clip(0, 1)
    return [value if total else None for value, total in zip(found.tolist(), totals, strict=True)]
