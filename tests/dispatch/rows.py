"""The vectors of the simulation: one for each text, the same at every provider."""

import hashlib
from array import array
from collections.abc import Sequence

from app import vectors
from app.domain import Item

WIDTH = 8  # of the vectors of every model, unless a request has `dimensions`


def text_of(tokens: Sequence[int]) -> str:
    """Return the text of token ids, for every tokenizer of the simulation."""
    return " ".join(f"t{token}" for token in tokens)


def row(item: Item, input_type: str | None = None, width: int = WIDTH) -> bytes:
    """Return the vector of an item at every provider."""
    text = item if isinstance(item, str) else text_of(item)
    size = max(width, WIDTH)
    seen = hashlib.blake2b(f"{input_type}:{text}".encode(), digest_size=size).digest()
    full = array("f", [byte + 1 for byte in seen]).tobytes()
    return full if width >= WIDTH else vectors.cut(full, width)
