"""Count and decode tokens with the tokenizer that a model's settings name.

``"tokenizer"`` of a model is the name of a tiktoken encoding (``cl100k_base``) or the path of a
``tokenizer.json``. The libraries are in the extra ``tokenizers``, and imported only if needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from app.concurrency.native_threads import NativeThreads
from app.domain import Item

#: Characters that are counted in the calling thread: about 30 ms. More are counted in a
#: native thread (both libraries release the interpreter's lock), so that a long text does not
#: stop gevent's event loop.
MAX_INLINE_SIZE = 8192
#: Characters of a request that are counted: about 0.4 s of work. Of more the tokens are estimated,
#: because a count cannot be stopped at the caller's deadline.
MAX_COUNTED_SIZE = 100_000
#: Long texts that are counted at the same time, for each tokenizer.
MAX_THREADS = 2


class Undecodable(ValueError):
    """Token ids that do not decode to text: unknown ids, or half of a character."""


class Tokenizer(Protocol):
    """The tokenizer of one model."""

    def count(self, items: Sequence[Item]) -> list[int]:
        """Return the number of tokens of each item."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens. Raises `Undecodable` if they do not decode exactly."""


def load(name: str) -> Tokenizer:
    """Load a tokenizer by the name of an encoding, or by a path.

    Raises `ModuleNotFoundError` if the library is not installed, another exception if there is no
    such tokenizer.
    """
    return _Json(name) if name.endswith(".json") else _Tiktoken(name)


def is_countable(items: Sequence[Item]) -> bool:
    """Whether the texts are short enough to be counted within a request."""
    return sum(len(item) for item in items if isinstance(item, str)) <= MAX_COUNTED_SIZE


class _Offloading:
    """Counts long texts in native threads.

    Decoding stays in the calling thread: its caller holds a lock, under which nothing may wait.
    """

    def __init__(self) -> None:
        self._threads = NativeThreads(MAX_THREADS)

    def count(self, items: Sequence[Item]) -> list[int]:
        texts = [item for item in items if isinstance(item, str)]
        if sum(map(len, texts)) <= MAX_INLINE_SIZE:
            counted = iter(self._count(texts))
        else:
            counted = iter(self._threads.run(lambda: self._count(texts)))
        return [next(counted) if isinstance(item, str) else len(item) for item in items]

    def _count(self, texts: list[str]) -> list[int]:
        raise NotImplementedError


class _Tiktoken(_Offloading):
    def __init__(self, name: str) -> None:
        import tiktoken

        super().__init__()
        # Downloads the encoding, unless TIKTOKEN_CACHE_DIR holds it.
        self._encoding: Any = tiktoken.get_encoding(name)

    def _count(self, texts: list[str]) -> list[int]:
        return [len(self._encoding.encode_ordinary(text)) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        try:
            text: str = self._encoding.decode_bytes(tokens).decode()
        except (KeyError, UnicodeDecodeError, OverflowError) as error:
            raise Undecodable("token ids that are no text") from error
        return text


class _Json(_Offloading):
    def __init__(self, path: str) -> None:
        import tokenizers

        super().__init__()
        self._tokenizer: Any = tokenizers.Tokenizer.from_str(Path(path).read_text("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def _count(self, texts: list[str]) -> list[int]:
        # Not by `.ids`: a list of a million ids is made under the interpreter's lock.
        return [len(e) for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        known = self._tokenizer.get_vocab_size()
        if not all(token < known for token in tokens):
            raise Undecodable("token ids that the model does not know")
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            raise Undecodable("token ids that are no text")
        return text
