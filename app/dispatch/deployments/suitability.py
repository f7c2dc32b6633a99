"""Whether a deployment can serve a request: the lengths of its items, and the width of its vectors.

No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.concurrency.deadline import Deadline
from app.config import DeploymentSettings, ModelSettings
from app.config.sections.deployments import KNOWN_CONTEXT
from app.domain import Item
from app.errors import BadRequest, Rejected, shown
from app.providers.base import Capabilities
from app.providers.contexts import context_of
from app.tokens.bounded import SLICE_SIZE, BoundedTokenizer, groups

#: How many more tokens than characters a text of ASCII may have: a tokenizer may add one before it.
_MAX_SURPLUS_TOKENS = 1


class ItemLengths:
    """Counts the tokens of a request's items, as far as the check of a limit needs them.

    All counts and limits here are without the tokens that a model adds to each item: how many it
    adds depends on the deployment (`Deployment.added_tokens`). ``counts`` are those known
    before; empty: none are.
    """

    def __init__(
        self, items: Sequence[Item], counts: Sequence[int | None], tokenizer: BoundedTokenizer
    ) -> None:
        self.counts: list[int | None] = list(counts) or [None] * len(items)
        self._items = items
        self._tokenizer = tokenizer
        self._longest = 0  # tokens of the longest item that was counted
        self._is_exact = True  # of the longest item all tokens were counted

    def count(self, smallest: int, largest: int, deadline: Deadline) -> None:
        """Count the items that may be over the ``smallest`` limit, each up to the ``largest``.

        A text of ASCII has at most one token a character, so that short texts need no count. Stops
        soon after an item over ``largest``, because no deployment takes it. Raises `TimeoutError`.
        """
        unknown = []
        for position, count in enumerate(self.counts):
            if count is not None:
                self._note(position, count)
            elif self._may_exceed(self._items[position], smallest):
                unknown.append(position)
        for span in groups([len(self._items[position]) for position in unknown], SLICE_SIZE):
            if self._longest > largest:
                return
            self._count_group(unknown[span.start : span.stop], largest, deadline)

    def _count_group(self, positions: Sequence[int], largest: int, deadline: Deadline) -> None:
        """Count some items together, so that many short texts are one piece of work."""
        if len(positions) == 1:
            item = self._items[positions[0]]
            count, is_exact = self._tokenizer.count_up_to(item, largest, deadline)
            self._note(positions[0], count, is_exact)
            return
        counts = self._tokenizer.count([self._items[position] for position in positions], deadline)
        for position, count in zip(positions, counts, strict=True):
            self._note(position, count)

    def _note(self, position: int, count: int, is_exact: bool = True) -> None:
        if is_exact:
            self.counts[position] = count
        if count > self._longest:
            self._longest, self._is_exact = count, is_exact

    @staticmethod
    def _may_exceed(item: Item, limit: int) -> bool:
        """Whether an item may have more tokens than that, as far as is known without a count."""
        if not isinstance(item, str):
            return len(item) > limit
        return not item.isascii() or len(item) + _MAX_SURPLUS_TOKENS > limit

    def are_within(self, limit: int | None) -> bool:
        """Whether every item is within a limit; None is no limit."""
        return limit is None or self._longest <= limit

    def refusal(self, limit: int, added: int) -> BadRequest:
        """Return the error for a request that exceeds a limit, in OpenAI's words.

        ``limit`` is the model's, and ``added`` are the tokens that it adds to each item.
        """
        tokens = self._longest + added
        requested = f"{tokens} tokens ({tokens} in your prompt"
        if not self._is_exact:
            requested = f"at least {requested}"
        return BadRequest(
            f"This model's maximum context length is {limit} tokens, however you requested "
            f"{requested}; 0 for the completion). Please reduce your prompt; or completion length.",
            param="input",
        )


def max_item_tokens(
    settings: DeploymentSettings,
    kind: str,
    takes: Capabilities,
    tokenizer: BoundedTokenizer | None,
) -> int | None:
    """Return the most tokens of one item: the operator's setting, or the model's known context.

    Without a tokenizer the known context is no limit, because no text can be counted.
    """
    if settings.max_item_tokens != KNOWN_CONTEXT:
        return settings.max_item_tokens
    return None if tokenizer is None else context_of(kind, settings.model, takes.long_text)


class Widths:
    """The widths of one deployment. ``takes_dimensions``: its provider cuts vectors itself."""

    def __init__(self, model: ModelSettings, takes_dimensions: bool) -> None:
        self._model = model
        self._takes_dimensions = takes_dimensions

    def _can_return(self, dimensions: int | None) -> bool:
        """Whether it can return vectors of that width; None: of the model's own."""
        widest = self._model.dimensions
        if dimensions is not None and widest is not None and dimensions > widest:
            return False
        return (
            dimensions is None
            or self._takes_dimensions
            or dimensions == self._model.dimensions
            or self._model.can_cut_to(dimensions)
        )

    def refusal_of(self, dimensions: int | None) -> Rejected | None:
        """Return the error for a width that it can never return; None for any other width."""
        if self._can_return(dimensions):
            return None
        return Rejected(
            f"Invalid value for 'dimensions' = {shown(dimensions)}. "
            "This model cannot give vectors of that width.",
            param="dimensions",
        )

    def narrower(self) -> int | None:
        """Return a width below the model's own to which its vectors can be cut, if any."""
        model = self._model
        if isinstance(model.matryoshka, tuple):
            return min((w for w in model.matryoshka if w != model.dimensions), default=None)
        return max(1, model.dimensions // 2) if model.matryoshka and model.dimensions else None
