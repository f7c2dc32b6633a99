"""Runs the work of a tokenizer within a deadline, and without stopping the event loop.

What is short is done in the calling thread. What is long is done in native threads (the libraries
release the interpreter's lock), slice by slice where a text can be cut: a thread whose caller has
left at its deadline is free again within a slice. The exact count of a text needs places to cut
that leave its tokens as they are, so its size is bounded: `is_countable`. A count up to a limit
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from app.concurrency.deadline import Deadline
from app.concurrency.threads import NativeThreads
from app.domain import Item
from app.tokens.slices import bounded_slices
from app.tokens.tokenizers import Tokenizer

T = TypeVar("T")
#: Characters, or token ids, that are worked on in the calling thread: about 30 ms.
MAX_INLINE_SIZE = 8192
#: Characters of a text, or of several, that are counted in one go in a native thread: about 0.25 s.
SLICE_SIZE = 65_536
#: Characters of a request that are counted for an estimate: about 0.4 s of work and 30 MB. Of more
#: the tokens are computed from the bytes. A text without a place to cut is worked on as a whole up
#: to this size; a longer one is cut anywhere for a limit (`count_up_to`).
MAX_COUNTED_SIZE = 100_000
#: Tokens by which a cut anywhere may change the count: a WordPiece word of more than 100 characters
#: is one token, and each of its halves, if shorter, up to 100. Of BPE it is a few.
MAX_SHIFT_OF_CUT = 200
#: Native threads of each tokenizer.
MAX_THREADS = 2


def is_countable(items: Sequence[Item]) -> bool:
    """Whether the texts are short enough to be counted for an estimate."""
    return sum(len(item) for item in items if isinstance(item, str)) <= MAX_COUNTED_SIZE


class BoundedTokenizer:
    """A tokenizer whose methods end by a deadline. They raise `TimeoutError` when it has passed."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._threads = NativeThreads(MAX_THREADS)

    @property
    def special_tokens(self) -> int:
        """The tokens that the model adds to each text."""
        return self._tokenizer.special_tokens

    def count(self, items: Sequence[Item], deadline: Deadline | None = None) -> list[int]:
        """Return the exact number of tokens of each item, without special tokens.

        The work and memory of a text without a place to cut grow with it: see `is_countable`.
        """
        texts = [item for item in items if isinstance(item, str)]
        counts: list[int] = []
        for span in groups([len(text) for text in texts], SLICE_SIZE):
            group = texts[span.start : span.stop]
            if len(group) == 1 and len(group[0]) > SLICE_SIZE:
                counts.append(self.count_up_to(group[0], None, deadline)[0])
            else:
                counts += self._run(group, partial(self._tokenizer.count, group), deadline)
        of_texts = iter(counts)
        return [next(of_texts) if isinstance(item, str) else len(item) for item in items]

    def count_up_to(
        self, item: Item, limit: int | None, deadline: Deadline | None = None
    ) -> tuple[int, bool]:
        """Return the number of tokens of an item, and whether that is exact.

        It is not in two cases, where the item has at least the number returned: (1) a long text
        over ``limit``, because the count stops above the limit; (2) a text of more than
        `MAX_COUNTED_SIZE` that was cut anywhere. ``limit`` None: the count is exact.
        """
        if not isinstance(item, str):
            return len(item), True
        total = margin = 0
        rule = self._tokenizer.space_rule if len(item) > SLICE_SIZE else None
        max_size = MAX_COUNTED_SIZE if limit is not None else None
        for part, is_clean in bounded_slices(item, SLICE_SIZE, max_size, rule):
            if not is_clean:
                margin += MAX_SHIFT_OF_CUT
            total += sum(self._run([part], partial(self._tokenizer.count, [part]), deadline))
            if limit is not None and total - margin > limit:
                return total - margin, len(part) == len(item)
        return max(0, total - margin), not margin

    def decode(self, items: Sequence[Sequence[int]], deadline: Deadline | None = None) -> list[str]:
        """Return the texts of lists of token ids. Raises `Undecodable`."""
        texts: list[str] = []
        for span in groups([len(item) for item in items], SLICE_SIZE):
            group = items[span.start : span.stop]
            texts += self._run(group, partial(self._decode, group), deadline)
        return texts

    def _decode(self, items: Sequence[Sequence[int]]) -> list[str]:
        return [self._tokenizer.decode(item) for item in items]

    def _run(
        self, items: Sequence[Sequence[object]], work: Callable[[], T], deadline: Deadline | None
    ) -> T:
        """Do the work on some items: here where they are short, else in a native thread."""
        if deadline is not None and deadline.remaining() <= 0:
            raise TimeoutError("the deadline has passed")
        if sum(map(len, items)) <= MAX_INLINE_SIZE:
            return work()
        # The time and not the deadline object, whose single callback is another's.
        timeout_s = None if deadline is None else deadline.remaining()
        return self._threads.run(work, timeout_s)


def groups(sizes: Sequence[int], max_size: int) -> Iterator[range]:
    """Yield consecutive positions of at most ``max_size`` together, or a single larger one."""
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and total + size > max_size:
            yield range(start, place)
            start, total = place, 0
        total += size
    if len(sizes) > start:
        yield range(start, len(sizes))
