"""The context of models: the most tokens of a caller's text that each embeds.

It is the default of ``max_item_tokens`` where that is safe:

1. The provider cuts a longer text silently, or may do so: a text that its tokenizer counts as too
   long is better refused than cut.
2. The provider refuses a longer text itself, and its tokenizer is public: OpenAI's.

Other providers refuse such texts by their own count, which is better than one with a tokenizer that
may be only similar.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from app.providers.base import LongText

_OPENAI = {
    # "The maximum length of input text for our latest embedding models is 8192 tokens"
    # (platform.openai.com/docs/guides/embeddings).
    "text-embedding-3-*": 8192,
    "text-embedding-ada-002": 8192,
}
#: Tokens of the words for a task that `app.providers.kinds.gemini` puts before a text: at most one
#: a character, by any tokenizer. A title of the caller's is not among them.
MAX_TASK_TOKENS = 32
_GOOGLE = {
    # ai.google.dev/gemini-api/docs/embeddings, "Model versions", "Input token limit".
    "gemini-embedding-001": 2048,
    "gemini-embedding-2*": 8192 - MAX_TASK_TOKENS,
}
#: Models whose weights are public, by their names on Hugging Face: ``max_seq_length`` in
#: sentence_bert_config.json, else ``max_position_embeddings`` in config.json.
_OPEN = {
    "BAAI/bge-*-en-v1.5": 512,
    "BAAI/bge-*-zh-v1.5": 512,
    "BAAI/bge-m3": 8192,
    "intfloat/multilingual-e5-*": 512,
    "intfloat/e5-*-v2": 512,
    "mixedbread-ai/mxbai-embed-large-v1": 512,
    "sentence-transformers/all-MiniLM-L6-v2": 256,
    "sentence-transformers/all-MiniLM-L12-v2": 128,
    "sentence-transformers/all-mpnet-base-v2": 384,
    "thenlper/gte-*": 512,
    "WhereIsAI/UAE-Large-V1": 512,
    "nomic-ai/nomic-embed-text-v1*": 8192,
}
#: Shell patterns of the models of a kind → their context; the first that matches counts.
CONTEXTS: Mapping[str, Mapping[str, int]] = {
    "openai": {**_OPENAI, **_OPEN},
    "github": {f"openai/{model}": tokens for model, tokens in _OPENAI.items()},
    "gemini": {**_GOOGLE, **{f"models/{model}": tokens for model, tokens in _GOOGLE.items()}},
    # docs.databricks.com, "Supported foundation models": "embedding window of 8192 tokens", "512".
    "databricks": {"databricks-gte-large-en": 8192, "databricks-bge-large-en": 512},
    **dict.fromkeys(["deepinfra", "fireworks", "infinity", "tei", "together"], _OPEN),
}
#: Of these kinds the context is in force although they refuse a longer text themselves.
_EXACT_KINDS = {"openai", "github"}


def context_of(kind: str, model: str, long_text: LongText) -> int | None:
    """Return the most tokens of a text for a model of a provider, by its name there, if known."""
    if kind not in _EXACT_KINDS and not long_text.may_be_cut:
        return None
    known = CONTEXTS.get(kind, {}).items()
    return next((tokens for pattern, tokens in known if fnmatchcase(model, pattern)), None)
