"""Yields during long computations, so that other requests go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
#: Rows of a large answer between two yields: about a millisecond of work on floats.
ROWS_PER_YIELD = 16
#: Seconds between two yields, where the work is reading what has arrived on a socket.
MAX_BUSY_S = 0.01


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


def yield_control() -> None:
    """Let other greenlets run where gevent has patched ``sleep``, else other threads.

    ``sleep(0)`` would not do: gevent then switches to the greenlets that are ready already, and
    does not look for what has arrived on sockets. A timer of a nanosecond makes its loop look.
    """
    time.sleep(1e-9)
