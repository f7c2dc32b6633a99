"""Balances connections between workers: each accepts its share of those that wait.

All workers of a server accept from one listener, and one that is busy comes late. Without this, one
worker can have twice the connections of another, and its clients half the answers; and where each
accepts one connection at a time, so that others have a chance, new connections wait for seconds
when many open at once.

A listener for each worker (``SO_REUSEPORT``) would balance them, too. But the connections that wait
in the listener of a worker that ends are reset, and those of one that is busy wait for it.
"""

from __future__ import annotations

import math
import mmap
import socket
import struct
from collections.abc import Collection, Iterable
from typing import Any

#: Seconds for which a worker leaves connections to others. It accepts some that still wait then.
PAUSE_S = 0.005
#: Workers whose connections are counted, those that are ending among them. Others do not balance.
MAX_WORKERS = 128
#: Connections that are taken to wait where the system does not say how many.
ASSUMED_WAITING = 16

_CLOSED = -1  # the value of a cell whose worker accepts no connections, or has ended
_QUEUE_OFFSET = 24  # of tcpi_unacked in Linux's struct tcp_info: of a listener, those that wait


class ConnectionCounts:
    """The open connections of each worker, in memory that they share by fork.

    Each worker has a cell of 8 bytes, and only that worker writes it. When the worker has ended,
    the master marks the cell as closed.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * MAX_WORKERS)).cast("q")
        for cell in range(MAX_WORKERS):
            self._cells[cell] = _CLOSED

    def new(self, used: Collection[int]) -> ConnectionCount:
        """Return the count of a new worker, in none of the used cells."""
        free = next((cell for cell in range(MAX_WORKERS) if cell not in used), None)
        return ConnectionCount() if free is None else ConnectionCount(self._cells, free)


class ConnectionCount:
    """The open connections of a worker; by default of one that compares itself with no other."""

    def __init__(self, cells: memoryview | None = None, cell: int = -1) -> None:
        self._cells = memoryview(bytearray(8)).cast("q") if cells is None else cells
        self.cell = cell
        self._open = 0
        self._is_accepting = False

    def start_accepting(self) -> None:
        """Have other workers leave connections to this one."""
        self._is_accepting = True
        self._cells[self.cell] = self._open

    def stop_accepting(self) -> None:
        """Have other workers leave no connection to this one, and accept all that wait."""
        self._is_accepting = False
        self._cells[self.cell] = _CLOSED

    def add(self, connections: int) -> None:
        """Count connections that were opened, or closed where the number is negative."""
        self._open += connections
        if self._is_accepting:
            self._cells[self.cell] = self._open

    def share(self, waiting: int) -> int:
        """Return how many of the connections that wait this worker should accept."""
        return fair_share(waiting, self._open, self._others()) if self._is_accepting else waiting

    def share_after_pause(self, waiting: int) -> int:
        """Return how many to accept after a pause: an equal part of those that still wait.

        The workers that they were left to may be busy, and these connections have waited once.
        """
        return math.ceil(waiting / (len(self._others()) + 1))

    def _others(self) -> list[int]:
        cells = self._cells.tolist()
        del cells[self.cell]
        return [count for count in cells if count != _CLOSED]


def fair_share(waiting: int, own: int, others: Iterable[int]) -> int:
    """Return how many waiting connections a worker accepts so that all come to have as many. Pure.

    It finds the level: the number of connections that each worker has once those that wait are
    accepted, where workers that have more already accept none. This worker accepts what it lacks
    to that level.
    """
    total, workers = own + waiting, 1
    for count in sorted(others):
        if count * workers >= total:
            break
        total += count
        workers += 1
    return min(waiting, max(0, math.ceil(total / workers) - own))


def waiting_connections(listener: Any) -> int:
    """Return how many connections wait to be accepted; a guess where the system does not say."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "TCP_INFO"):
        return ASSUMED_WAITING
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE_OFFSET + 4)
    except OSError:
        return ASSUMED_WAITING
    waiting: int = struct.unpack_from("I", info, _QUEUE_OFFSET)[0]
    return waiting
