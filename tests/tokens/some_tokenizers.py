"""A tokenizer of each kind: of bytes as cl100k_base, and SentencePiece as Llama; and texts."""

from pathlib import Path

import pytest
import tiktoken
import wordllama
from hypothesis import strategies as st

from app.tokens import tokenizers

LLAMA = str(Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json")
#: The pattern of cl100k_base (openai_public.py of tiktoken), whose ranks are a download.
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
MERGES = [b"he", b"ll", b"hell", b" w", b"or", b" wor", b"ld", b" 1", b"12", b"  "]
WORDS = st.sampled_from(["a", "hello", "world", "12", "1234", "<s>", "'s", " ", "\n", "日本", "😀"])
TEXTS = (
    st.lists(WORDS | st.text(max_size=3), max_size=60)
    .map(" ".join)
    .map(lambda text: text.encode(errors="ignore").decode())
)


def byte_level():
    """A tokenizer of the kind of cl100k_base, with few merges."""
    ranks = {bytes([value]): value for value in range(256)}
    ranks.update({merge: 256 + number for number, merge in enumerate(MERGES)})
    return tiktoken.Encoding("few", pat_str=CL100K, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(tiktoken, "get_encoding", {"few": byte_level()}.__getitem__)
    return tokenizers.load("few")


@pytest.fixture(scope="module")
def llama():
    return tokenizers.load(LLAMA)
