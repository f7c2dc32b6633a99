"""How many tokens items will take, and how a large request is split. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.domain import Item
from app.tokenizers import Tokenizer, is_countable
from app.usage.share import weigh

#: UTF-8 bytes a token is taken to stand for before any answer has shown it. English has 4 and
#: more, Chinese about 3: better a call too many than one that is refused.
_CAUTIOUS_BYTES_PER_TOKEN = 3.0
_LEAST_BYTES_PER_TOKEN, _MOST_BYTES_PER_TOKEN = 0.5, 32.0
_MIN_BYTES = 200.0  # seen, before something is learned from them
_FADING = 0.95  # of what was seen, with each further call
_TOO_LOW_FACTOR = 1.25  # more tokens are expected after a call of several items was too large,
_MAX_CORRECTION = 4.0  # so many times more at most,
_CORRECTION_FADING = 0.99  # and less again with each call that was not
_MARGIN = 0.8  # of the average: more tokens are expected than there are on average


class Expected(NamedTuple):
    """The tokens that some items are expected to have: in all, and of the largest item."""

    total: int
    largest: int


class TokenEstimate:
    """Expects the tokens of items, for one model: limits and quotas need them before a call.

    By the model's own tokenizer where its settings name one and the texts are not too long to be
    counted. Else from the bytes of the text, by
    what the provider counted for earlier calls; rather too many than too few.
    """

    def __init__(self, tokenizer: Tokenizer | None = None, is_used: bool = True) -> None:
        self.is_used = is_used  # a limit of tokens depends on it
        self._tokenizer = tokenizer if is_used else None
        self._bytes = self._tokens = 0.0  # seen, recent calls first
        self._correction = 1.0

    def expect(self, items: Sequence[Item]) -> list[int]:
        """Tokens of each item."""
        if self._tokenizer is not None and is_countable(items):
            return self._tokenizer.count(items)
        per_token = self.bytes_per_token
        return [
            -int(-weigh(item) // per_token) if isinstance(item, str) else len(item)
            for item in items
        ]

    def learn(self, items: Sequence[Item], tokens: int) -> None:
        """The provider counted so many tokens for these items."""
        if self.is_used and tokens > 0 and isinstance(items[0], str):
            self._bytes = self._bytes * _FADING + sum(map(weigh, items))
            self._tokens = self._tokens * _FADING + tokens
            self._correction = max(1.0, self._correction * _CORRECTION_FADING)

    def was_too_low(self) -> None:
        """A provider refused a call of several items as too large: expect more tokens for a while.

        A single item that is too large says nothing of the estimate.
        """
        self._correction = min(self._correction * _TOO_LOW_FACTOR, _MAX_CORRECTION)

    @property
    def bytes_per_token(self) -> float:
        """As expected now."""
        cautious = _CAUTIOUS_BYTES_PER_TOKEN
        if self._bytes >= _MIN_BYTES:
            cautious = self._bytes / self._tokens * _MARGIN
        cautious /= self._correction
        return min(max(cautious, _LEAST_BYTES_PER_TOKEN), _MOST_BYTES_PER_TOKEN)


def split(
    tokens: Sequence[int], max_inputs: int | None, max_tokens: int | None
) -> list[tuple[int, int]]:
    """Items of so many tokens → (start, stop) of consecutive calls within the limits.

    An item over ``max_tokens`` goes alone: its provider has the last word on it.
    """
    cuts = [0]
    inputs = total = 0
    for place, count in enumerate(tokens):
        is_full = (max_inputs is not None and inputs >= max_inputs) or (
            max_tokens is not None and inputs and total + count > max_tokens
        )
        if is_full:
            cuts.append(place)
            inputs = total = 0
        inputs += 1
        total += count
    return list(zip(cuts, [*cuts[1:], len(tokens)], strict=True))
