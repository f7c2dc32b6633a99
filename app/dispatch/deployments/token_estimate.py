"""Expects the tokens of items before a call, and counts them after it. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from app.concurrency.deadline import Deadline
from app.concurrency.locks import uncontended_lock
from app.domain import NO_FLOW, Call, Flow, Item, Vectors
from app.tokens.bounded import BoundedTokenizer, is_countable
from app.tokens.counting import share, weigh_all
from app.tokens.tokenizers import Tokenizer

_log = logging.getLogger("app.dispatch")
#: UTF-8 bytes of a token, assumed before any answer has shown it. English has 4 and more, Chinese
#: about 3. Too low a value only splits a request into more calls; too high a one gets refusals.
_CAUTIOUS_BYTES_PER_TOKEN = 3.0
_MIN_BYTES_PER_TOKEN, _MAX_BYTES_PER_TOKEN = 0.5, 32.0
_MIN_LEARNED_BYTES = 200.0  # seen, before something is learned from them
_DECAY = 0.95  # of what was seen, with each further call
_CORRECTION_FACTOR = 1.25  # of `TokenEstimate.correction`, for each call that was too large
_MAX_CORRECTION = 4.0  # of `TokenEstimate.correction`
_CORRECTION_DECAY = 0.99  # of `TokenEstimate.correction`, for each call that was answered
#: Seconds for which a request, or its vectors, wait for a count of tokens at most. One takes about
#: 0.4 s, but the counts of other requests may be before it.
MAX_COUNT_S = 1.0
_COUNT_SHARE = 0.5  # of the time until the deadline, for which they wait at most
_MARGIN = 0.8  # of the average: more tokens are expected than there are on average
#: Bounds of a count from which the bounds of the bytes per token follow, with the margin.
_MIN_TOKENS_PER_BYTE, _MAX_TOKENS_PER_BYTE = (
    _MARGIN / per_token for per_token in (_MAX_BYTES_PER_TOKEN, _MIN_BYTES_PER_TOKEN)
)


class Expected(NamedTuple):
    """The expected tokens of some items: their total, and those of the largest item.

    ``flow`` is that of their request.
    """

    total: int
    largest: int
    flow: Flow = NO_FLOW


NOTHING_EXPECTED = Expected(0, 0)


class TokenEstimate:
    """Expects the tokens of items of one model: limits and quotas need them before a call.

    There are two cases: the model's settings name a tokenizer, which counts texts that are not too
    long for that, while it has time; or the tokens are computed from the bytes of the text, by the
    provider's counts for earlier calls. The second is an estimate above the average, to avoid too
    large calls.

    Changes are made under the lock; ``bytes_per_token`` and ``correction`` are read without it.
    """

    def __init__(self, tokenizer: Tokenizer | None = None, is_used: bool = True) -> None:
        self.is_used = is_used  # a limit of tokens depends on it
        self.tokenizer = None if tokenizer is None else BoundedTokenizer(tokenizer)
        self._bytes = self._tokens = 0.0  # of the calls so far, recent ones count more
        #: The UTF-8 bytes that one token is expected to have.
        self.bytes_per_token = _CAUTIOUS_BYTES_PER_TOKEN
        #: So many times the expected tokens are assumed where a call's size is limited.
        self.correction = 1.0
        self._lock = uncontended_lock()

    def count(self, items: Sequence[Item], deadline: Deadline | None = None) -> list[int]:
        """Return the tokens of each item by the tokenizer; empty where they are only estimated.

        They are where the texts are too long for a count, or it takes half of the time until the
        deadline or `MAX_COUNT_S`: no request waits for long behind the texts of others.
        """
        if self.tokenizer is None or not self.is_used or not is_countable(items):
            return []
        in_time = None if deadline is None else deadline.for_step(_COUNT_SHARE, MAX_COUNT_S)
        try:
            return self.tokenizer.count(items, in_time)
        except TimeoutError:
            return []

    def expect(
        self, items: Sequence[Item], counts: Sequence[int | None] | None = None
    ) -> list[int]:
        """Return the expected tokens of each item; ``counts`` are those that are known already."""
        if counts is None:
            counts = self.count(items)
        expected = weigh_all(items)
        if isinstance(items[0], str):
            per_token = self.bytes_per_token
            expected = [-int(-weight // per_token) for weight in expected]
        for position, count in enumerate(counts):
            if count is not None:
                expected[position] = count
        return expected

    def learn(self, items: Sequence[Item], tokens: int) -> None:
        """Adjust the bytes per token by what the provider counted for some items.

        A count out of bounds is a mistake, and is taken for the bound.
        """
        if not (self.is_used and tokens > 0 and isinstance(items[0], str)):
            return
        weight = sum(weigh_all(items))
        counted = min(max(tokens, weight * _MIN_TOKENS_PER_BYTE), weight * _MAX_TOKENS_PER_BYTE)
        with self._lock:
            self._bytes = self._bytes * _DECAY + weight
            self._tokens = self._tokens * _DECAY + counted
            self.correction = max(1.0, self.correction * _CORRECTION_DECAY)
            if self._bytes >= _MIN_LEARNED_BYTES:
                seen = self._bytes / self._tokens * _MARGIN
                self.bytes_per_token = min(max(seen, _MIN_BYTES_PER_TOKEN), _MAX_BYTES_PER_TOKEN)

    def raise_correction(self) -> None:
        """Send smaller calls for a while: one of several items was refused as too large.

        Only the size of calls follows from it. Quotas are charged by what is expected, as before:
        a few calls that were too large do not show that all callers use more tokens.
        """
        with self._lock:
            self.correction = min(self.correction * _CORRECTION_FACTOR, _MAX_CORRECTION)


def recounted(
    vectors: Vectors, call: Call, tokenizer: BoundedTokenizer, deadline: Deadline
) -> Vectors:
    """Return vectors with the provider's count, divided in proportion to the tokenizer's counts.

    Without a provider's count, with the tokenizer's counts. Only items that are not counted yet are
    counted. The vectors are paid for: where the tokenizer fails, or takes half of the time until
    the deadline or `MAX_COUNT_S`, they keep the counts that they have, and come in time.
    """
    counts = list(call.counts or [None] * len(call.items))
    missing = [position for position, count in enumerate(counts) if count is None]
    try:
        in_time = deadline.for_step(_COUNT_SHARE, MAX_COUNT_S)
        counted = tokenizer.count([call.items[position] for position in missing], in_time)
    except TimeoutError:
        return vectors
    except Exception:  # no thread can be had, or a bug of the tokenizer: no fault of the provider
        _log.exception("the tokens of embedded items could not be counted")
        return vectors
    for position, count in zip(missing, counted, strict=True):
        counts[position] = count
    known = [count for count in counts if count is not None]
    if vectors.estimated:
        return replace(vectors, tokens=known, estimated=False)
    return replace(vectors, tokens=share(sum(vectors.tokens), known))
