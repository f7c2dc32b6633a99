"""Splitting what is too large for one call, by tokens that nobody has counted yet. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain import Item
from app.usage.share import weigh

#: UTF-8 bytes a token is taken to stand for when a limit must hold. English has 4 and more,
#: Chinese about 3: better a call too many than one that is refused.
_CAUTIOUS_BYTES_PER_TOKEN = 3


def expected_tokens(items: Sequence[Item]) -> list[int]:
    """Tokens of each item, rather too many than too few for a text."""
    return [
        -(-weigh(item) // _CAUTIOUS_BYTES_PER_TOKEN) if isinstance(item, str) else len(item)
        for item in items
    ]


def split(
    tokens: Sequence[int], max_inputs: int | None, max_tokens: int | None
) -> list[tuple[int, int]]:
    """Items of so many tokens → (start, stop) of consecutive calls within the limits.

    An item over ``max_tokens`` goes alone: its provider has the last word on it.
    """
    cuts = [0]
    inputs = total = 0
    for place, count in enumerate(tokens):
        full = (max_inputs is not None and inputs >= max_inputs) or (
            max_tokens is not None and inputs and total + count > max_tokens
        )
        if full:
            cuts.append(place)
            inputs = total = 0
        inputs += 1
        total += count
    return list(zip(cuts, [*cuts[1:], len(tokens)], strict=True))
