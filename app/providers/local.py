"""The embedded provider: wordllama, a small static model whose weights come inside its wheel.

Real embeddings with no account and no network, for development, tests and a last resort. Source:
github.com/dleemiller/WordLlama. Token ids are those of the model's own vocabulary;
vectors have length 1, as OpenAI's have.
"""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import wordllama

from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.domain import Call, Vectors
from app.errors import BrokenContract, ProviderTimeout, Rejected
from app.providers.base import Capabilities
from app.vectors import BadVector, check

OPTIONS: dict[str, Any] = {}
#: Items embedded before others get a turn: the work holds the worker's only loop.
_SLICE = 32
WIDTH = 256


def make(settings: ProviderSettings) -> Local:
    return Local()


class Local:
    """Embeds in this process; needs no HTTP."""

    capabilities = Capabilities(dimensions=False)

    @cached_property
    def _model(self) -> Any:
        model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )
        model.tokenizer.no_padding()
        return model

    def load(self) -> None:
        """Load the model now rather than with the first request."""
        _ = self._model

    def limits(self, model: str) -> Capabilities:
        return self.capabilities

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        rows: list[bytes] = []
        tokens: list[int] = []
        for start in range(0, len(call.items), _SLICE):
            if deadline.remaining() <= 0:
                raise ProviderTimeout("did not finish in time")
            for ids in self._ids(call.items[start : start + _SLICE]):
                rows.append(self._embed(ids))
                tokens.append(len(ids))
            time.sleep(0)  # let others run, under either kind of worker
        try:
            check(rows, WIDTH)
        except BadVector as error:
            raise BrokenContract(f"answered {error}") from error
        return Vectors(rows, tokens)

    def _ids(self, items: Any) -> list[list[int]]:
        if not isinstance(items[0], str):
            return list(items)
        return [encoded.ids for encoded in self._encode(items)]

    def _encode(self, texts: list[str]) -> Any:
        try:
            return self._model.tokenizer.encode_batch(texts, add_special_tokens=False)
        except TypeError as error:  # a lone surrogate, which is no character
            raise Rejected("'$.input' is invalid. It has a text that is no Unicode.") from error

    def _embed(self, ids: list[int]) -> bytes:
        table = self._model.embedding
        if not ids:
            raise Rejected("'$.input' is invalid. A text without a single token was given.")
        if max(ids) >= len(table) or min(ids) < 0:
            raise Rejected(
                f"'$.input' is invalid. Token ids of this model are below {len(table)}; were these "
                "made by another model's tokenizer? Send text instead."
            )
        mean = table[ids].mean(axis=0, dtype=np.float64)
        return (mean / np.linalg.norm(mean)).astype("<f4").tobytes()  # type: ignore[no-any-return]
