"""Tokenizers of the search, and limits of the tokens of an item, which they count."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.domain import Item
from app.tokens.counting import weigh
from app.tokens.tokenizers import Undecodable
from tests.dispatch.asks import NOT_TEXT
from tests.dispatch.rows import text_of

if TYPE_CHECKING:
    from tests.dispatch.arrangement import Arrangement


class Words:
    """A tokenizer that counts like the providers and cannot decode every id."""

    space_rule = None

    def __init__(self, bytes_per_token: int, special_tokens: int = 0) -> None:
        self._bytes = bytes_per_token
        self.special_tokens = special_tokens

    def count(self, items: Sequence[Item]) -> list[int]:
        return [
            max(1, weigh(item) // self._bytes) if isinstance(item, str) else len(item)
            for item in items
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        if NOT_TEXT in tokens:
            raise Undecodable("token ids that are no text")
        return text_of(tokens)


def limit_items(made: "Arrangement") -> None:
    """Limit the tokens of an item at some deployments, where a tokenizer can count them."""
    dice = random.Random(f"limits of items of {made.seed}")
    if dice.random() < 0.5:
        return
    special_tokens = dice.choice([0, 2])
    for model, tokenizer in made.tokenizers.items():
        tokenizer.special_tokens = special_tokens
        for deployment in made.models[model]:
            if dice.random() < 0.5:
                deployment["max_item_tokens"] = dice.choice([8, 12, 16])
