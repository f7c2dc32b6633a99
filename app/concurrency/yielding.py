"""Yields during long computations, so that other requests go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
#: Rows of a large answer between two yields: about a millisecond of work on floats.
ROWS_PER_YIELD = 16
#: Seconds of a long loop between two yields: requests do not notice them.
WORK_S_PER_YIELD = 0.003


def map_with_yields(
    function: Callable[[_A], _B], rows: Sequence[_A], rows_per_yield: int = ROWS_PER_YIELD
) -> list[_B]:
    """Return ``function`` of each row, in order; yield control after each ``rows_per_yield``."""
    results: list[_B] = []
    for start in range(0, len(rows), rows_per_yield):
        if start:
            yield_control()
        results += map(function, rows[start : start + rows_per_yield])
    return results


def iterate_with_yields(items: Iterable[_A]) -> Iterator[_A]:
    """Yield each item, for a loop over thousands; yield control after `WORK_S_PER_YIELD`."""
    until = time.monotonic() + WORK_S_PER_YIELD
    for item in items:
        if time.monotonic() >= until:
            yield_control()
            until = time.monotonic() + WORK_S_PER_YIELD
        yield item


def yield_control() -> None:
    """Let other greenlets run where gevent has patched ``sleep``, else other threads.

    ``sleep(0)`` would not do: gevent then switches to the greenlets that are ready already, and
    does not look for what has arrived on sockets. A timer of a nanosecond makes its loop look.
    """
    time.sleep(1e-9)
