"""Cut a long text where its tokens end, so that it can be tokenized in slices."""

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
    start = 0
    while len(item) - start > size:
        stop = resume = start + size
        if isinstance(item, str):
            cut = _CUT.search(item, start + size) if rule is not None else None
            if cut is None:
                break
            stop, resume = cut.start(), cut.end() if rule == "drop" else cut.start()
        yield item[start:stop]
        start = resume
    yield item[start:]


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
