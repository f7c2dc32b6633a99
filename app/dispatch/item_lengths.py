"""Whether the items of a request are within the context of a model: ``max_item_tokens``."""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.deadline import Deadline
from app.domain import Item
from app.errors import BadRequest
from app.tokens.bounded import BoundedTokenizer

#: Tokens by which a text of ASCII may exceed its characters: one that its tokenizer puts before it.
_MAX_SURPLUS_TOKENS = 1


class ItemLengths:
    """The tokens of a request's items, counted where a limit may be exceeded, and no further.

    ``counts`` are those known before, without special tokens; empty: none are.
    """

    def __init__(
        self, items: Sequence[Item], counts: Sequence[int | None], tokenizer: BoundedTokenizer
    ) -> None:
        self.counts: list[int | None] = list(counts) or [None] * len(items)
        self._items = items
        self._tokenizer = tokenizer
        self._longest = 0  # tokens of the longest item that was counted, special tokens included
        self._is_exact = True  # of the longest item all tokens were counted

    def count(self, smallest: int, largest: int, deadline: Deadline) -> None:
        """Count the items that may be over the ``smallest`` limit, each up to the ``largest``.

        A text of ASCII has at most one token a character, so that short texts need no count. Stops
        at an item over ``largest``, for no deployment takes it. Raises `TimeoutError`.
        """
        special = self._tokenizer.special_tokens
        for place, item in enumerate(self._items):
            added = special if isinstance(item, str) else 0  # token ids are taken as they are
            count = self.counts[place]
            if count is None:
                if _max_tokens(item, smallest) + added <= smallest:
                    continue
                limit = largest - added
                count, self._is_exact = self._tokenizer.count_up_to(item, limit, deadline)
                self.counts[place] = count
            self._longest = max(self._longest, count + added)
            if self._longest > largest:
                return

    def fit(self, limit: int | None) -> bool:
        """Whether every item is within a limit; None is no limit."""
        return limit is None or self._longest <= limit

    def refusal(self, limit: int) -> BadRequest:
        """Return the error for a request that exceeds a limit, in OpenAI's words."""
        requested = f"{self._longest} tokens ({self._longest} in your prompt"
        if not self._is_exact:
            requested = f"at least {requested}"
        return BadRequest(
            f"This model's maximum context length is {limit} tokens, however you requested "
            f"{requested}; 0 for the completion). Please reduce your prompt; or completion length.",
            param="input",
        )


def _max_tokens(item: Item, smallest: int) -> int:
    """Return a number of tokens that an item surely does not exceed."""
    if not isinstance(item, str) or item.isascii():
        return len(item) + (_MAX_SURPLUS_TOKENS if isinstance(item, str) else 0)
    return smallest + 1  # a character may have several tokens: it is counted
