"""The items of a request that other requests wait for, too: they have joined it. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from app.dispatch.part import Part
from app.domain import Flow


class JoinedItems:
    """The items that have been joined, by position, each with the best flow of those that wait.

    `app.dispatch.parts.Parts` owns it, under the lock of its job.
    """

    def __init__(self) -> None:
        self._flows: dict[int, Flow] = {}
        self._positions: list[int] = []  # in ascending order

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, positions: Iterable[int], flow: Flow) -> None:
        """Record that a request with that flow has joined some items."""
        for position in positions:
            known = self._flows.get(position)
            if known is None or flow.goes_before(known):
                self._flows[position] = flow
        self._positions = sorted(self._flows)

    def prefer(self, part: Part) -> bool:
        """Let a part start first that has joined items.

        Returns whether one of them has a flow of a better tier, which the part then has.
        """
        first, last = _range(part, self._positions)
        before = part.flow
        for position in self._positions[first:last]:
            part.starts_first = True
            if self._flows[position].goes_before(part.flow):
                part.flow = self._flows[position]
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
