"""The size of calls: a large request is split into several. No I/O.

After a call that was refused as too large, `SizeRefusal` finds out whether it was the call, or one
text of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.locks import uncontended_lock
from app.dispatch.deployments.token_estimate import TokenEstimate
from app.dispatch.queue.attempts import Attempt

_MIN_STAGGERED = 8  # calls of a request, from which on the first ones are smaller


def split(
    tokens: Sequence[int], max_inputs: int | None, max_tokens: int | None
) -> list[tuple[int, int]]:
    """Split items of so many tokens into calls within the limits: (start, stop) for each.

    An item over ``max_tokens`` gets a call of its own, which the provider may refuse.
    """
    cuts = [0]
    inputs = total = 0
    for position, count in enumerate(tokens):
        is_full = (max_inputs is not None and inputs >= max_inputs) or (
            max_tokens is not None and inputs and total + count > max_tokens
        )
        if is_full:
            cuts.append(position)
            inputs = total = 0
        inputs += 1
        total += count
    return list(zip(cuts, [*cuts[1:], len(tokens)], strict=True))


def staggered(
    tokens: Sequence[int], max_inputs: int | None, max_tokens: int | None
) -> list[tuple[int, int]]:
    """Split items as `split` does; of many calls the first ones are smaller.

    Equal calls that start together end together, again and again: a query would find no slot until
    all of them are free at once. Calls of a quarter, a half and three quarters spread their ends.
    """
    cuts = split(tokens, max_inputs, max_tokens)
    if len(cuts) < _MIN_STAGGERED:
        return cuts
    usual, start = cuts[0][1], 0
    made = []
    sizes = [max(1, quarters * usual // 4) for quarters in (1, 2, 3)]
    for size in (*sizes, len(tokens)):
        if piece := tokens[start : start + size]:
            made += _shifted(split(piece, max_inputs, max_tokens), start)
        start += size
    return made


def _shifted(cuts: Sequence[tuple[int, int]], by: int) -> list[tuple[int, int]]:
    return [(start + by, stop + by) for start, stop in cuts]


class SizeRefusal:
    """Counts which parts, or attempts, of a call that was refused as too large are served since.

    Once each of the ``number`` is served in a smaller call, it is known that the size of the call
    was refused, and not one text that is too long for the model: calls are made smaller for a
    while. The lock guards ``_missing``.
    """

    def __init__(self, number: int, estimate: TokenEstimate) -> None:
        self._missing = number
        self._estimate = estimate
        self._lock = uncontended_lock()

    @classmethod
    def watch(cls, attempts: Sequence[Attempt], estimate: TokenEstimate) -> None:
        """Count the attempts of a refused batch when they are served."""
        refusal = cls(len(attempts), estimate)
        for attempt in attempts:  # one that has waited again may be of an earlier such call, too
            attempt.on_served = (*attempt.on_served, refusal.record_served)

    def record_served(self) -> None:
        """Record that one of them has its vectors."""
        with self._lock:
            self._missing -= 1
            are_all_served = not self._missing
        if are_all_served:
            self._estimate.raise_correction()
