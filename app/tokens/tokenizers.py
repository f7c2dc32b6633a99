"""The tokenizer that a model's settings name: counts the tokens of a text, and decodes token ids.

``"tokenizer"`` of a model is the name of a tiktoken encoding (``cl100k_base``) or the path of a
``tokenizer.json``. The libraries are in the extra ``tokenizers``, and imported only if needed. What
is long runs in native threads: `app.tokens.bounded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from app.domain import Item
from app.tokens.slices import SpaceRule, rule_of


class Undecodable(ValueError):
    """Token ids that do not decode to text: unknown ids, or half of a character."""


class Tokenizer(Protocol):
    """The tokenizer of one model. Its methods take as long as they take: `app.tokens.bounded`."""

    #: Tokens that the model adds to each text, such as [CLS] and [SEP].
    special_tokens: int
    #: How a long text is cut into slices; None: not at all.
    space_rule: SpaceRule | None
    #: The same for tokenizers that decode token ids to the same texts: the name of the encoding, or
    #: a digest of the file's content.
    fingerprint: str

    def count(self, items: Sequence[Item]) -> list[int]:
        """Return the number of tokens of each item, without special tokens."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of the tokens. Raises `Undecodable` if they do not decode exactly."""


def load(name: str) -> Tokenizer:
    """Load a tokenizer by the name of an encoding, or by a path.

    Raises `ModuleNotFoundError` if the library is not installed, another exception if there is no
    such tokenizer.
    """
    return _Json(name) if name.endswith(".json") else _Tiktoken(name)


class _Tiktoken:
    special_tokens = 0

    def __init__(self, name: str) -> None:
        import tiktoken

        self.fingerprint = name
        # Downloads the encoding, unless TIKTOKEN_CACHE_DIR holds it.
        self._encoding: Any = tiktoken.get_encoding(name)
        self.space_rule = rule_of(self._encoding.encode_ordinary)

    def count(self, items: Sequence[Item]) -> list[int]:
        encode = self._encoding.encode_ordinary
        return [len(encode(item) if isinstance(item, str) else item) for item in items]

    def decode(self, tokens: Sequence[int]) -> str:
        try:
            text: str = self._encoding.decode_bytes(tokens).decode()
        except (KeyError, UnicodeDecodeError, OverflowError) as error:
            raise Undecodable("token ids that are no text") from error
        return text


class _Json:
    def __init__(self, path: str) -> None:
        import tokenizers

        content = Path(path).read_text("utf-8")
        self.fingerprint = sha256(content.encode()).hexdigest()
        self._tokenizer: Any = tokenizers.Tokenizer.from_str(content)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.special_tokens: int = self._tokenizer.num_special_tokens_to_add(False)
        self.space_rule = rule_of(lambda text: self._encode([text])[0].ids)

    def count(self, items: Sequence[Item]) -> list[int]:
        # Not by `.ids`: a list of a million ids is made under the interpreter's lock.
        counts = map(len, self._encode([item for item in items if isinstance(item, str)]))
        return [next(counts) if isinstance(item, str) else len(item) for item in items]

    def decode(self, tokens: Sequence[int]) -> str:
        if max(tokens, default=0) >= self._tokenizer.get_vocab_size():
            raise Undecodable("token ids that the model does not know")
        # A batch, because that releases the interpreter's lock.
        (text,) = self._tokenizer.decode_batch([list(tokens)], skip_special_tokens=False)
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            raise Undecodable("token ids that are no text")
        return str(text)

    def _encode(self, texts: list[str]) -> Any:
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)
