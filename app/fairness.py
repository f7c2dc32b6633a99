"""Letting others have a turn during work on a large answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
#: Rows of a large answer worked on at a stretch: a millisecond or so of floats.
ROWS_A_TURN = 16


def by_turns(work: Callable[[_A], _B], rows: Iterable[_A], turn: int = ROWS_A_TURN) -> list[_B]:
    """``work`` on each row, in order. After each ``turn`` of them others run, in either worker."""
    done: list[_B] = []
    for place, row in enumerate(rows, 1):
        done.append(work(row))
        if not place % turn:
            breathe()
    return done


def breathe() -> None:
    """Let others run: other greenlets where gevent has patched ``sleep``, else other threads.

    Not 0 seconds, upon which gevent switches to what is ready but does not look for what has come
    over sockets meanwhile. A timer of a nanosecond has passed already when the loop looks at it.
    """
    time.sleep(1e-9)
