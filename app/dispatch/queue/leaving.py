"""Which attempts may leave a queue, and which of them leave together: in one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from app.dispatch.queue.attempts import Attempt
from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import TIERS, Tier

if TYPE_CHECKING:
    from app.dispatch.deployments.deployment import Deployment

#: With so many slots or more, of a provider or of a deployment, the last free one is kept for other
#: tiers than flex.
MIN_SLOTS_TO_KEEP_ONE = 4
#: Two attempts are about as large if one has at most so many times the items of the other.
_SAME_SIZE_FACTOR = 4
_RANK = {tier: rank for rank, tier in enumerate(TIERS)}


class Leaving:
    """The calls in flight of each deployment, and the rules that follow from them and from quotas.

    ``on_pause`` is called with the time at which the queue is to be checked again. A
    `app.dispatch.queue.slot_queue.SlotQueue` owns it, and holds its own lock during every call.
    """

    def __init__(self, waiting: WaitingAttempts, on_pause: Callable[[float], None]) -> None:
        self.calls: dict[Deployment, int] = {}  # in flight
        self._waiting = waiting
        self._on_pause = on_pause

    def may_leave(self, attempt: Attempt, now: float) -> bool:
        """Return whether an attempt may leave, if its provider has a slot.

        Where it waits for a quota, the queue is checked again after that pause; a probe waits for
        none. An attempt for which a quota has no room for long leaves, too, and is refused then.
        """
        deployment = attempt.deployment
        if deployment.concurrency is not None and not self._has_own_slot(attempt):
            return False
        quota = deployment.quota
        if quota.exhausted_until > now:
            self._on_pause(quota.exhausted_until)
            return False
        if not quota.is_limited or attempt.is_probe:
            return True
        pause_s = quota.pause_s(attempt.tokens, now, attempt.deadline.at)
        if attempt.flow.tier == "flex" and not self._waiting.has_credit(attempt):
            pause_s = max(pause_s or 0.0, quota.bulk_pause_s(attempt.tokens, now))
        if not pause_s:  # None, too: it leaves, and is refused
            return True
        self._on_pause(now + pause_s)
        return False

    def is_unlimited(self, deployment: Deployment, tier: Tier, now: float) -> bool:
        """Whether a deployment has no quota, no exhausted limit, and a slot of its own."""
        if deployment.quota.is_limited or deployment.quota.exhausted_until > now:
            return False
        limit = deployment.concurrency
        if limit is None:
            return True
        needed = 1 if limit >= MIN_SLOTS_TO_KEEP_ONE and tier == "flex" else 0
        return limit - self.calls.get(deployment, 0) > needed

    def filter_for_pass(self, now: float) -> Callable[[Attempt], bool]:
        """Return a `may_leave` for one pass over the queue, which may hold very many attempts."""
        must_wait = MustWait()

        def may_leave(attempt: Attempt) -> bool:
            if must_wait.has(attempt):
                return False
            if self.may_leave(attempt, now):
                return True
            must_wait.add(attempt)
            return False

        return may_leave

    def _has_own_slot(self, attempt: Attempt) -> bool:
        """Whether an attempt may take a slot of its deployment; flex leaves the last one, too."""
        limit = attempt.deployment.concurrency or 0
        free = limit - self.calls.get(attempt.deployment, 0)
        if free == 1 and limit >= MIN_SLOTS_TO_KEEP_ONE and attempt.flow.tier == "flex":
            return self._waiting.has_credit(attempt)
        return free > 0


class MustWait:
    """Remembers which attempts may not leave, in one pass over a queue, to skip others like them.

    While a thousand attempts wait for a quota, a check of each would take a millisecond at each
    change of the queue. An attempt is skipped where another one must wait that is of the same
    deployment and tier, about as large (`_similarity_key`), and not harder to send: it has no
    more tokens, and no later deadline (a call is not spaced beyond its deadline). All others are
    checked. So is one of twice the tokens, which may have to wait for so long that it is refused.
    """

    __slots__ = ("_least",)

    def __init__(self) -> None:
        #: The tokens and the deadline of an attempt that must wait, by `_similarity_key`.
        self._least: dict[Hashable, tuple[int, float]] = {}

    def add(self, attempt: Attempt) -> None:
        """Record that an attempt may not leave."""
        similar = _similarity_key(attempt)
        needs = attempt.tokens, attempt.deadline.at
        known = self._least.get(similar)
        if known is None or (needs[0] <= known[0] and needs[1] <= known[1]):
            self._least[similar] = needs

    def has(self, attempt: Attempt) -> bool:
        """Whether an attempt may not leave, because a similar one that needs no more may not."""
        if not self._least or attempt.is_probe:
            return False
        known = self._least.get(_similarity_key(attempt))
        return known is not None and attempt.tokens >= known[0] and attempt.deadline.at >= known[1]


def _similarity_key(attempt: Attempt) -> Hashable:
    """Return a key that is equal for attempts of a deployment and tier that are about as large."""
    return attempt.deployment, attempt.flow.tier, attempt.tokens.bit_length()


class Merging:
    """A call that is being filled, from its first attempt on; ``quota_tokens`` are left for it.

    It stays short for the smallest of its attempts, and for those of the best tier. There are five
    cases for an attempt that might join:

    1. The call would be larger than its deployment, its quota or ``longest_call`` allows: it waits.
    2. One of its items was refused lately: it gets a call of its own.
    3. It is about as large as the smallest attempt, and of the same tier: it joins.
    4. It is much larger, or of a worse tier: it joins while the call takes hardly longer by that
       (``max_lengthening``) than it takes for the small ones.
    5. It is much smaller, or of a better tier: it joins where the call takes hardly longer than a
       call for this attempt alone.

    Where it is not known yet how long calls take, an attempt of case 4 or 5 waits.
    """

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

    def __init__(self, first: Attempt, quota_tokens: float, now: float) -> None:
        self.inputs = first.size
        self.tokens = first.tokens
        self._deployment: Deployment = first.deployment
        self._now = now
        self._is_bulk = first.flow.tier == "flex"
        self._max_inputs = self._deployment.max_inputs or math.inf
        max_tokens = self._deployment.max_call_tokens
        self._max_tokens = quota_tokens if max_tokens is None else min(quota_tokens, max_tokens)
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
        seconds = deployment.durations.expected_s(inputs, tokens)
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
        alone_s = self._deployment.durations.expected_s(*short)
        together_s = self._deployment.durations.expected_s(inputs, tokens)
        if alone_s is None or together_s is None:
            return False
        return together_s <= alone_s * (1 + self._deployment.max_lengthening)
