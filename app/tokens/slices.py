"""Cut a long text, where its tokens end if possible, so that it can be tokenized in slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from app.domain import Item

#: A space at which a text can be cut: no token of the usual tokenizers goes over a space that
#: follows a letter or digit. Not beside other characters: a second space, or a special token such
#: as "<s>", changes that.
_CUT = re.compile("(?<=[0-9A-Za-z]) (?=[0-9A-Za-z])")
#: Texts on which `rule_of` tries the rules. Both sides of each cut differ in kind.
_PROBES = ("hello world", "Version 2 of 10 items", "I am A 1b2 c", "the quick 123456 brown fox42 x")

#: What becomes of the space at a cut: left out, because the tokenizer puts one before each text
#: (SentencePiece) or takes it out anyway (WordPiece); or kept, as the first character of the next
#: slice (byte-level BPE).
SpaceRule = Literal["drop", "keep"]


def slices(item: Item, size: int, rule: SpaceRule | None = "drop") -> Iterator[Item]:
    """Yield parts of an item whose tokens are, one part after the other, those of the whole.

    A part has ``size`` characters or token ids and, of a text, those up to the next place to cut.
    ``rule`` None: the text cannot be cut.
    """
    return (part for part, _ in bounded_slices(item, size, None, rule))


def bounded_slices(
    item: Item, size: int, max_size: int | None, rule: SpaceRule | None = "drop"
) -> Iterator[tuple[Item, bool]]:
    """Yield parts of an item, each with whether the cut before it leaves the tokens as they are.

    A part is as of `slices`, but has at most ``max_size`` characters: where none of these is a
    place to cut, it is cut after them, which changes the tokens beside that cut.
    """
    start, is_clean = 0, True
    while len(item) - start > size:
        stop = resume = start + size
        is_next_clean = True
        if isinstance(item, str):
            end = len(item) if max_size is None else min(len(item), start + max_size)
            cut = _CUT.search(item, stop, end) if rule is not None else None
            if cut is not None:
                stop, resume = cut.start(), cut.end() if rule == "drop" else cut.start()
            elif end == len(item):
                break
            else:
                stop, resume, is_next_clean = end, end, False
        yield item[start:stop], is_clean
        start, is_clean = resume, is_next_clean
    yield item[start:], is_clean


def rule_of(tokenize: Callable[[str], Sequence[int]]) -> SpaceRule | None:
    """Return the rule by which the slices of a text have the tokens of the whole; None: neither.

    ``tokenize`` returns the token ids of a text, without special tokens.
    """
    rules: tuple[SpaceRule, ...] = ("drop", "keep")
    return next((rule for rule in rules if _holds(rule, tokenize)), None)


def _holds(rule: SpaceRule, tokenize: Callable[[str], Sequence[int]]) -> bool:
    return all(
        list(tokenize(text))
        == [token for part in slices(text, 1, rule) for token in tokenize(str(part))]
        for text in _PROBES
    )
