"""Share a provider's token count out over the items it counted together. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain import Item

#: Bytes of UTF-8 a token stands for, on average, where nobody counted: OpenAI's rule of thumb
#: ("1 token ~= 4 chars in English", platform.openai.com/tokenizer).
BYTES_PER_TOKEN = 4


def weigh(item: Item) -> int:
    """How much of a shared count an item bears: its tokens, or its UTF-8 length."""
    if isinstance(item, str):
        return len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
    return len(item)


def estimate(item: Item) -> int:
    """Tokens of an item that nobody counted; at least 1."""
    weight = weigh(item)
    return max(1, -(-weight // BYTES_PER_TOKEN)) if isinstance(item, str) else weight


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of ``total`` in proportion to ``weights``, by largest remainder.

    The shares always sum to ``total``. Weights that are all 0 count as equal.
    """
    if len(weights) == 1:
        return [total]
    whole = sum(weights)
    if whole == 0:
        weights, whole = [1] * len(weights), len(weights)
    shares = [total * weight // whole for weight in weights]
    left = total - sum(shares)
    if left:
        by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
        for i in by_remainder[:left]:
            shares[i] += 1
    return shares
