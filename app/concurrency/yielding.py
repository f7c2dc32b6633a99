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
#: Seconds of a sleep that lets all other greenlets run. 0 would not do: gevent then switches to the
#: greenlets that are ready already, and does not look for what has arrived on sockets. A timer of a
#: nanosecond makes its loop look.
YIELD_SLEEP_S = 1e-9


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


class WorkTimer:
    """Yields control after `WORK_S_PER_YIELD`, in a loop that calls `yield_if_due` often.

    gevent's `recv` does not switch while bytes are there: without it, all other requests would wait
    while millions of tiny pieces are read.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._yield_at = time.monotonic() + WORK_S_PER_YIELD

    def yield_if_due(self) -> None:
        """Yield control if so long has passed since the last yield or restart."""
        if time.monotonic() >= self._yield_at:
            yield_control()
            self.restart()


def iterate_with_yields(items: Iterable[_A]) -> Iterator[_A]:
    """Yield each item, for a loop over thousands; yield control after `WORK_S_PER_YIELD`."""
    timer = WorkTimer()
    for item in items:
        timer.yield_if_due()
        yield item


def yield_control() -> None:
    """Let other greenlets run where gevent has patched ``sleep``, else other threads."""
    time.sleep(YIELD_SLEEP_S)  # a switch, not a wait
