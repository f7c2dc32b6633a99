"""The minimum share of each tier while better ones wait. No I/O, no lock.

`app.dispatch.queue.waiting.WaitingAttempts` owns it.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.dispatch.queue.attempt import Attempt
from app.domain import TIERS, Tier

#: Share of the tokens that a tier gets while better ones wait.
MIN_TIER_SHARE = 0.05


class TierCredits:
    """Tokens that each tier may send before better ones."""

    def __init__(self) -> None:
        self._credits = dict.fromkeys(TIERS, 0.0)
        self._last_call_tokens = 0.0

    def is_positive(self, tier: Tier) -> bool:
        """Whether a tier has credit."""
        return self._credits[tier] > 0

    def suffice(self, attempt: Attempt) -> bool:
        """Whether the tier of an attempt may send it before better ones."""
        return self._credits[attempt.flow.tier] >= attempt.tokens

    def limit(self, attempt: Attempt) -> None:
        """Bound the credit of a tier to what its next attempt and one more call need.

        It grows while the tier's attempts may not leave. Without the bound, the tier would then
        send many calls before better ones.
        """
        tier = attempt.flow.tier
        most = attempt.tokens + self._last_call_tokens
        self._credits[tier] = min(self._credits[tier], most)

    def forget(self, tier: Tier) -> None:
        """Set the credit of a tier without waiting attempts to 0."""
        self._credits[tier] = 0.0

    def share_call(self, call: Iterable[Attempt], waiting: Iterable[Tier]) -> None:
        """Credit the ``waiting`` tiers with their share of a call; charge the tiers in the call.

        For each tier, from the best to the worst:

        1. If it waits, it is credited with its share of what better tiers have in the call.
        2. If it is in the call, it is charged for its tokens. While no better tier waits, that uses
           up credit, and makes no debt. While one waits, the debt is at most these tokens: the tier
           may have sent much while better ones might not leave, and a debt of all that would keep
           it from its minimum share for as long.
        """
        sent = dict.fromkeys(TIERS, 0.0)
        for attempt in call:
            sent[attempt.flow.tier] += attempt.charged
        sent_by_better, is_better_waiting = 0.0, False
        for tier, tokens in sent.items():
            waits = tier in waiting
            if waits:
                self._credits[tier] += sent_by_better * MIN_TIER_SHARE / (1 - MIN_TIER_SHARE)
            if tokens:
                least = -tokens if is_better_waiting else min(0.0, self._credits[tier])
                self._credits[tier] = max(self._credits[tier] - tokens, least)
            sent_by_better += tokens
            is_better_waiting |= waits
        self._last_call_tokens = sent_by_better
