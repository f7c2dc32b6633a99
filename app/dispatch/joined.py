"""The items of a request that other requests wait for, too: they have joined it. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from app.dispatch.flows import with_size
from app.dispatch.part import Part
from app.domain import Flow

_MUCH_LARGER_FACTOR = 4


class JoinedItems:
    """The items that have been joined, by position, each with the flow in which it is to wait.

    That is the flow of the request that has joined, if its tier is better, or if it is a small
    request of the same tier: it must not wait in the flow of a bulk one. Else it is ``own``, the
    flow of the request that was joined, of so many ``items``.

    `app.dispatch.parts.Parts` owns it, under the lock of its job.
    """

    def __init__(self, own: Flow, items: int) -> None:
        self._own = own
        self._items = items
        self._flows: dict[int, Flow] = {}
        self._positions: list[int] = []  # in ascending order

    def add(self, positions: Sequence[int], flow: Flow) -> None:
        """Record that a request with that flow has joined some items."""
        is_small = len(positions) * _MUCH_LARGER_FACTOR < self._items
        is_better = is_small and not self._own.goes_before(flow)
        flow = with_size(flow, len(positions))
        for position in positions:
            known = self._flows.get(position, self._own)
            takes_it = flow.goes_before(known) or (is_better and known == self._own)
            self._flows[position] = flow if takes_it else known
        self._positions = sorted(self._flows)

    def prefer(self, part: Part) -> bool:
        """Let a part start first that has joined items.

        Returns whether one of them is to wait in another flow, which the part then has.
        """
        first, last = _range(part, self._positions)
        before = part.flow
        for position in self._positions[first:last]:
            part.starts_first = True
            flow = self._flows[position]
            if flow.goes_before(part.flow) or (part.flow == self._own and flow != self._own):
                part.set_flow(flow)
        return part.flow is not before


def extent(part: Part, positions: Sequence[int]) -> tuple[int, int]:
    """Return (start, stop) of the items of a part from the first to the last of some.

    ``positions`` are in ascending order; both are the end of the part where it has none of them.
    """
    first, last = _range(part, positions)
    return (part.stop, part.stop) if first == last else (positions[first], positions[last - 1] + 1)


def _range(part: Part, positions: Sequence[int]) -> tuple[int, int]:
    """Return which of some positions, in ascending order, are of items of a part."""
    return bisect_left(positions, part.start), bisect_left(positions, part.stop)
