"""The embedded provider: wordllama, a small static model whose weights come inside its wheel.

Real embeddings with no account and no network, for development, tests and a last resort. Source:
github.com/dleemiller/WordLlama. Token ids are those of the model's own vocabulary;
vectors have length 1, as OpenAI's have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import wordllama

from app.concurrency.deadline import Deadline
from app.concurrency.threads import NativeThreads, NoThread
from app.concurrency.yielding import yield_control
from app.config import ProviderSettings
from app.domain import Call, Item, Vectors
from app.errors import BrokenContract, ProviderTimeout, Rejected
from app.providers.base import Capabilities, LongText
from app.providers.options import Option
from app.tokens.slices import bounded_slices
from app.vectors import BadVector, check

OPTIONS: dict[str, Option] = {}
#: Items embedded before the worker's event loop gets a turn.
MAX_GROUP_ITEMS = 32
#: Characters, or token ids, embedded before it does: about 20 ms of work.
SLICE_SIZE = 8192
#: Characters of a slice that is tokenised in the event loop's own thread.
MAX_INLINE_SIZE = 2 * SLICE_SIZE
#: Characters of a slice of a text without a place to cut: about 0.4 s and 30 MB in a native thread.
MAX_SLICE_SIZE = 100_000
#: Such slices that one worker tokenises at the same time.
MAX_THREADS = 2
WIDTH = 256


def make(settings: ProviderSettings) -> Local:
    return Local()


class Local:
    """Embeds in this process; needs no HTTP."""

    capabilities = Capabilities(dimensions=False, long_text=LongText.EMBEDDED_WHOLE)

    def __init__(self) -> None:
        self._threads = NativeThreads(MAX_THREADS)

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
        for group in groups(call.items):
            if len(group[0]) > SLICE_SIZE:
                row, count = self._embed_long(group[0], deadline)
                rows.append(row)
                tokens.append(count)
                continue
            _check_time(deadline)
            for ids in self._ids(group):
                rows.append(self._embed(ids))
                tokens.append(len(ids))
            yield_control()
        try:
            check(rows, WIDTH)
        except BadVector as error:
            raise BrokenContract(f"answered {error}") from error
        return Vectors(rows, tokens)

    def _embed_long(self, item: Item, deadline: Deadline) -> tuple[bytes, int]:
        """The vector of an item and its tokens, slice by slice.

        A text without a place to cut is cut every `MAX_SLICE_SIZE` characters, which changes at
        most a few of many tokens beside each cut.
        """
        total = np.zeros(WIDTH)
        count = 0
        for part, _ in bounded_slices(item, SLICE_SIZE, MAX_SLICE_SIZE):
            _check_time(deadline)
            ids = self._ids_in_time(part, deadline)
            for start in range(0, len(ids), SLICE_SIZE):
                _check_time(deadline)
                total += self._sum(ids[start : start + SLICE_SIZE])
                yield_control()
            count += len(ids)
        return _of_length_1(total), count

    def _ids_in_time(self, part: Item, deadline: Deadline) -> Sequence[int]:
        """Token ids of a slice; of one that is long because it has no cut, in a native thread."""
        if len(part) <= MAX_INLINE_SIZE or not isinstance(part, str):
            return self._ids([part])[0]
        try:
            (encoded,) = self._threads.run(lambda: self._encode([part]), deadline.remaining())
        except TimeoutError as error:
            raise ProviderTimeout("did not finish in time") from error
        except NoThread:  # better here than not at all: it is no fault of the deployment
            (encoded,) = self._encode([part])
        ids: list[int] = encoded.ids
        return ids

    def _ids(self, items: Any) -> list[list[int]]:
        if not isinstance(items[0], str):
            return list(items)
        return [encoded.ids for encoded in self._encode(items)]

    def _encode(self, texts: list[str]) -> Any:
        try:
            return self._model.tokenizer.encode_batch(texts, add_special_tokens=False)
        except TypeError as error:  # a lone surrogate, which is no character
            raise _invalid("It has a text that is no Unicode.") from error

    def _embed(self, ids: Sequence[int]) -> bytes:
        return _of_length_1(self._sum(ids))

    def _sum(self, ids: Sequence[int]) -> Any:
        table = self._model.embedding
        if not ids:
            raise _invalid("A text without a single token was given.")
        if max(ids) >= len(table) or min(ids) < 0:
            raise _invalid(
                f"Token ids of this model are below {len(table)}; were these made by another "
                "model's tokenizer? Send text instead."
            )
        return table[ids].sum(axis=0, dtype=np.float64)


def groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Consecutive items that are embedded in one turn; an item over `SLICE_SIZE` is alone."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == MAX_GROUP_ITEMS or size + len(item) > SLICE_SIZE):
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item)
    if group:
        yield group


def _invalid(why: str) -> Rejected:
    return Rejected(f"'$.input' is invalid. {why}", param="input")


def _of_length_1(total: Any) -> bytes:
    return (total / np.linalg.norm(total)).astype("<f4").tobytes()  # type: ignore[no-any-return]


def _check_time(deadline: Deadline) -> None:
    if deadline.remaining() <= 0:
        raise ProviderTimeout("did not finish in time")
