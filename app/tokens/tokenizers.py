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
    """Token ids that do not decode to text: unknown ids, or a part of a character or of a word."""


_NO_TEXT = "token ids that are no text"
#: Token ids at the beginning of an item that are compared with the tokens of their text: these tell
#: a file without a decoder, and an item that begins with the rest of a word; and to tokenize takes
#: long of a long text.
_MAX_COMPARED = 512


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
        """Return the text of the tokens, without those that the model adds to each text itself.

        Raises `Undecodable` if they do not decode exactly.
        """


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
        # Their names, such as "<|endoftext|>", are a text with other tokens.
        names = self._encoding.special_tokens_set
        self._special = {self._encoding.encode_single_token(name) for name in names}

    def count(self, items: Sequence[Item]) -> list[int]:
        encode = self._encoding.encode_ordinary
        return [len(encode(item) if isinstance(item, str) else item) for item in items]

    def decode(self, tokens: Sequence[int]) -> str:
        if not self._special.isdisjoint(tokens):
            raise Undecodable(_NO_TEXT)
        try:
            text: str = self._encoding.decode_bytes(tokens).decode()
        except (KeyError, UnicodeDecodeError, OverflowError) as error:
            raise Undecodable(_NO_TEXT) from error
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
        self.space_rule = rule_of(self._ids_of)
        self._before, self._after = self._added()

    def count(self, items: Sequence[Item]) -> list[int]:
        # Not by `.ids`: a list of a million ids is made under the interpreter's lock.
        counts = map(len, self._encode([item for item in items if isinstance(item, str)]))
        return [next(counts) if isinstance(item, str) else len(item) for item in items]

    def decode(self, tokens: Sequence[int]) -> str:
        if max(tokens, default=0) >= self._tokenizer.get_vocab_size():
            raise Undecodable("token ids that the model does not know")
        ids = self._without_added(list(tokens))
        text = self._text_of(ids)
        if not text or "\N{REPLACEMENT CHARACTER}" in text or not self._is_exact(ids):
            raise Undecodable(_NO_TEXT)
        return text

    def _without_added(self, ids: list[int]) -> list[int]:
        """Return ids without those that the provider's model adds to the text by itself.

        Raises `Undecodable` if there are more of them, as before padding: they are no text.
        """
        if self._before and ids[: len(self._before)] == self._before:
            ids = ids[len(self._before) :]
        if self._after and ids[-len(self._after) :] == self._after:
            ids = ids[: -len(self._after)]
        if not {*self._before, *self._after}.isdisjoint(ids):
            raise Undecodable(_NO_TEXT)
        return ids

    def _is_exact(self, ids: list[int]) -> bool:
        """Whether these ids, or others that the tokenizer has for the same text, are of their text.

        Others, because ids may be a part of those of a longer text, which was cut within a word.
        """
        ids = ids[:_MAX_COMPARED]
        text = self._text_of(ids)
        found = self._ids_of(text)
        return found == ids or self._text_of(found).strip() == text.strip()

    def _added(self) -> tuple[list[int], list[int]]:
        """Return the tokens that the model adds before and after those of each text."""
        own = self._ids_of("a")
        whole: list[int] = self._tokenizer.encode("a").ids
        for start in range(len(whole)):
            if whole[start : start + len(own)] == own:
                return whole[:start], whole[start + len(own) :]
        return [], []

    def _ids_of(self, text: str) -> list[int]:
        ids: list[int] = self._encode([text])[0].ids
        return ids

    def _text_of(self, ids: list[int]) -> str:
        # A batch, because that releases the interpreter's lock.
        (text,) = self._tokenizer.decode_batch([ids], skip_special_tokens=False)
        return str(text)

    def _encode(self, texts: list[str]) -> Any:
        return self._tokenizer.encode_batch(texts, add_special_tokens=False)
