"""Distributes the tokens that a provider counted over the items of its call."""

from __future__ import annotations

from msgspec.structs import replace

from app.concurrency.deadline import Deadline
from app.domain import Call, Vectors
from app.tokens.bounded import BoundedTokenizer
from app.tokens.counting import share


def recounted(
    vectors: Vectors, call: Call, tokenizer: BoundedTokenizer, deadline: Deadline
) -> Vectors:
    """Return vectors with the provider's count, divided in proportion to the tokenizer's counts.

    Without a provider's count, with the tokenizer's counts. Only items that are not counted yet are
    counted. The vectors are paid for: where the time does not suffice, they keep the counts that
    they have.
    """
    counts = list(call.counts or [None] * len(call.items))
    missing = [position for position, count in enumerate(counts) if count is None]
    try:
        counted = tokenizer.count([call.items[position] for position in missing], deadline)
    except TimeoutError:
        return vectors
    for position, count in zip(missing, counted, strict=True):
        counts[position] = count
    known = [count for count in counts if count is not None]
    if vectors.estimated:
        return replace(vectors, tokens=known, estimated=False)
    return replace(vectors, tokens=share(sum(vectors.tokens), known))
