"""Decides which attempts share a call: those that fit, and that do not make it long for another.

A call stays short for the smallest of its attempts, and for those of the best tier. There are five
cases for an attempt that might join:

1. The call would be larger than its deployment, its quota or ``longest_call`` allows: it waits.
2. One of its items was refused lately: it gets a call of its own.
3. It is about as large as the smallest attempt, and of the same tier: it joins.
4. It is much larger, or of a worse tier: it joins while the call takes hardly longer by that
   (``max_lengthening``) than it takes for the small ones.
5. It is much smaller, or of a better tier: it joins where the call takes hardly longer than a call
   for this attempt alone.

Where it is not known yet how long calls take, an attempt of case 4 or 5 waits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.dispatch.queue.attempt import Attempt
from app.domain import TIERS

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment

#: Attempts are about as large as each other up to so many times the items.
_SAME_SIZE_FACTOR = 4
_RANK = {tier: rank for rank, tier in enumerate(TIERS)}


class Merging:
    """A call that is being filled, from its first attempt on."""

    __slots__ = (
        "_deployment",
        "_is_bulk",
        "_longest_s",
        "_max_inputs",
        "_max_tokens",
        "_now",
        "_short",
        "_smallest",
        "inputs",
        "tokens",
    )

    def __init__(self, first: Attempt, room: float, now: float) -> None:
        self.inputs = first.size
        self.tokens = first.tokens
        self._deployment: Deployment = first.deployment
        self._now = now
        self._is_bulk = first.flow.tier == "flex"
        self._max_inputs = self._deployment.max_inputs or math.inf
        max_tokens = self._deployment.max_call_tokens
        self._max_tokens = room if max_tokens is None else min(room, max_tokens)
        self._longest_s = self._deployment.longest_call_s(self._is_bulk)
        self._smallest = first  # of the best tier
        self._short = (first.size, first.tokens)  # items and tokens of it, and of those like it

    @property
    def is_full(self) -> bool:
        """Whether not even the smallest possible attempt fits."""
        return self.inputs >= self._max_inputs or self.tokens >= self._max_tokens

    def try_add(self, attempt: Attempt) -> bool:
        """Add an attempt, if it may join the call."""
        deployment, smallest, size = self._deployment, self._smallest, attempt.size
        inputs, tokens = self.inputs + size, self.tokens + attempt.tokens
        if inputs > self._max_inputs or tokens > self._max_tokens:
            return False
        seconds = deployment.costs.expected(inputs, tokens)
        is_long = seconds is None or seconds > self._longest_s
        if is_long and not deployment.fits(inputs, tokens, self._is_bulk):
            return False
        if deployment.refused_items.has_any(attempt.call.items, self._now):
            return False
        rank, other_rank = _RANK[attempt.flow.tier], _RANK[smallest.flow.tier]
        is_larger = size > smallest.size * _SAME_SIZE_FACTOR
        is_smaller = size * _SAME_SIZE_FACTOR < smallest.size
        if rank < other_rank or (rank == other_rank and is_smaller):
            if not self._is_short((size, attempt.tokens), inputs, tokens):
                return False
            self._smallest, self._short = attempt, (size, attempt.tokens)
        elif rank > other_rank or is_larger:
            if not self._is_short(self._short, inputs, tokens):
                return False
        else:
            self._short = self._short[0] + size, self._short[1] + attempt.tokens
        self.inputs, self.tokens = inputs, tokens
        return True

    def _is_short(self, short: tuple[int, int], inputs: int, tokens: int) -> bool:
        """Whether a call takes hardly longer than one of ``short`` items and tokens."""
        alone_s = self._deployment.costs.expected(*short)
        together_s = self._deployment.costs.expected(inputs, tokens)
        if alone_s is None or together_s is None:
            return False
        return together_s <= alone_s * (1 + self._deployment.max_lengthening)
