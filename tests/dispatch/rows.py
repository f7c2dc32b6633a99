"""The vectors of the simulation: each text has its own, and every provider gives the same."""

import hashlib
from array import array
from collections.abc import Sequence

from app import vectors
from app.domain import Item

WIDTH = 8  # of the vectors of every model, unless a narrower one is asked for


def text_of(tokens: Sequence[int]) -> str:
    """The text that token ids stand for, for every tokenizer of the simulation."""
    return " ".join(f"t{token}" for token in tokens)


def row(item: Item, input_type: str | None = None, width: int = WIDTH) -> bytes:
    """The vector that every provider has for an item."""
    text = item if isinstance(item, str) else text_of(item)
    size = max(width, WIDTH)
    seen = hashlib.blake2b(f"{input_type}:{text}".encode(), digest_size=size).digest()
    full = array("f", [byte + 1 for byte in seen]).tobytes()
    return full if width >= WIDTH else vectors.cut(full, width)
