"""The items of a request that other requests wait for, too: they have joined it. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from app.dispatch.job.context import with_size
from app.dispatch.job.part import Part
from app.domain import Flow

_MUCH_LARGER_FACTOR = 4


class JoinedItems:
    """The items that other requests wait for, by position, each with the flow in which it waits.

    It is the flow of the request that has joined, if (1) its tier is better, or (2) its tier is the
    same, and it is much smaller: it must not wait in the flow of a bulk request. Else it is
    ``own``, the flow of the request that was joined, which has so many ``items``.

    `app.dispatch.job.parts.Parts` owns it, under the lock of its job.
    """

    def __init__(self, own: Flow, items: int) -> None:
        self._own = own
        self._items = items
        self._flows: dict[int, Flow] = {}
        self._positions: list[int] = []  # in ascending order

    def add(self, positions: Sequence[int], flow: Flow) -> None:
        """Record that a request with that flow has joined some items.

        An item that other requests have joined before keeps their flow, unless the new one's tier
        is better than theirs (case 1): case 2 compares with the request that was joined only.
        """
        is_much_smaller = len(positions) * _MUCH_LARGER_FACTOR < self._items
        is_case_2 = is_much_smaller and not self._own.goes_before(flow)
        flow = with_size(flow, len(positions))
        for position in positions:
            known = self._flows.get(position, self._own)
            is_earlier = flow.goes_before(known) or (is_case_2 and known == self._own)
            self._flows[position] = flow if is_earlier else known
        self._positions = sorted(self._flows)

    def prefer(self, part: Part) -> bool:
        """Let a part start first if it has joined items; return whether that changes its flow."""
        first, last = _range(part, self._positions)
        before = part.flow
        for position in self._positions[first:last]:
            part.starts_first = True
            flow = self._flows[position]
            if flow.goes_before(part.flow) or (part.flow == self._own and flow != self._own):
                part.set_flow(flow)
        return part.flow is not before


def extent(part: Part, positions: Sequence[int]) -> tuple[int, int]:
    """Return (start, stop) of the first to the last of ``positions`` that are in a part.

    ``positions`` are in ascending order. Where none is in the part, both are its end.
    """
    first, last = _range(part, positions)
    return (part.stop, part.stop) if first == last else (positions[first], positions[last - 1] + 1)


def has_any(part: Part, positions: Sequence[int]) -> bool:
    """Return whether some of the ``positions`` are in a part."""
    first, last = _range(part, positions)
    return first < last


def _range(part: Part, positions: Sequence[int]) -> tuple[int, int]:
    """Return the indexes (first, after the last) of the ``positions`` that are in a part."""
    return bisect_left(positions, part.start), bisect_left(positions, part.stop)
