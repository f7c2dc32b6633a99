"""Counting and decoding tokens with a model's own tokenizer, where its settings name one.

``"tokenizer"`` of a model is the name of a tiktoken encoding (``cl100k_base``) or the path of a
``tokenizer.json``. Their libraries are the extra ``tokenizers``, imported only when named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from app.domain import Item


class Undecodable(ValueError):
    """Token ids that are no text: unknown, or half of a character."""


class Tokenizer(Protocol):
    """The tokenizer of one model."""

    def count(self, items: Sequence[Item]) -> list[int]:
        """Tokens of each item."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that the tokens stand for; `Undecodable` where that is not exact."""


def load(name: str) -> Tokenizer:
    """A tokenizer by encoding name or path.

    Raises `ModuleNotFoundError` where the library is missing, another exception where there is no
    such tokenizer.
    """
    return _Json(name) if name.endswith(".json") else _Tiktoken(name)


class _Tiktoken:
    def __init__(self, name: str) -> None:
        import tiktoken

        # Fetches its table once, unless TIKTOKEN_CACHE_DIR holds it.
        self._encoding: Any = tiktoken.get_encoding(name)

    def count(self, items: Sequence[Item]) -> list[int]:
        return [
            len(self._encoding.encode_ordinary(i)) if isinstance(i, str) else len(i) for i in items
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        try:
            text: str = self._encoding.decode_bytes(tokens).decode()
        except (KeyError, UnicodeDecodeError, OverflowError) as error:
            raise Undecodable("token ids that are no text") from error
        return text


class _Json:
    def __init__(self, path: str) -> None:
        import tokenizers

        self._tokenizer: Any = tokenizers.Tokenizer.from_str(Path(path).read_text("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def count(self, items: Sequence[Item]) -> list[int]:
        texts = [item for item in items if isinstance(item, str)]
        encoded = iter(self._tokenizer.encode_batch(texts, add_special_tokens=False))
        return [len(next(encoded).ids) if isinstance(item, str) else len(item) for item in items]

    def decode(self, tokens: Sequence[int]) -> str:
        known = self._tokenizer.get_vocab_size()
        if not all(token < known for token in tokens):
            raise Undecodable("token ids that the model does not know")
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=False)
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            raise Undecodable("token ids that are no text")
        return text
