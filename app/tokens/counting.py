"""Estimate the tokens of items, and divide a provider's count among them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain import Item

#: Average bytes of UTF-8 in a token, for estimates: OpenAI's rule of thumb
#: ("1 token ~= 4 chars in English", platform.openai.com/tokenizer).
BYTES_PER_TOKEN = 4


def weigh(item: Item) -> int:
    """Return an item's weight when a count is divided: its tokens, or its UTF-8 length."""
    if isinstance(item, str):
        return len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
    return len(item)


def weigh_all(items: Sequence[Item]) -> list[int]:
    """Return the weight of each item, for less than calling `weigh` of each would cost."""
    return [
        len(item) if not isinstance(item, str) or item.isascii() else weigh(item) for item in items
    ]


def estimate(item: Item) -> int:
    """Estimate the tokens of an item; at least 1 for a text."""
    weight = weigh(item)
    return max(1, -(-weight // BYTES_PER_TOKEN)) if isinstance(item, str) else weight


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Divide ``total`` into whole shares in proportion to ``weights``, by largest remainder.

    The shares always sum to ``total``. Weights that are all 0 count as equal.
    """
    if len(weights) == 1:
        return [total]
    weight_sum = sum(weights)
    if weight_sum == 0:
        weights, weight_sum = [1] * len(weights), len(weights)
    shares = [total * weight // weight_sum for weight in weights]
    remaining = total - sum(shares)
    if remaining:
        remainders = [total * weight % weight_sum for weight in weights]
        largest = sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)
        for i in largest[:remaining]:
            shares[i] += 1
    return shares
