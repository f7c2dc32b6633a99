"""The minimum share of each tier while better ones wait. No I/O, no lock.

`app.dispatch.waiting.WaitingAttempts` owns it.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.dispatch.attempt import Attempt
from app.domain import TIERS, Tier

#: Share of the tokens that a tier gets while better ones wait.
MIN_TIER_SHARE = 0.05


class TierCredits:
    """Tokens that each tier may send before better ones."""

    def __init__(self) -> None:
        self._credits = dict.fromkeys(TIERS, 0.0)
        self._last_call_tokens = 0.0

    def is_positive(self, tier: Tier) -> bool:
        """Whether a tier has any."""
        return self._credits[tier] > 0

    def suffice(self, attempt: Attempt) -> bool:
        """Whether the tier of an attempt may send it before better ones."""
        return self._credits[attempt.flow.tier] >= attempt.tokens

    def limit(self, attempt: Attempt) -> None:
        """Bound what its tier has saved while it might not leave, which would delay better ones."""
        tier = attempt.flow.tier
        most = attempt.tokens + self._last_call_tokens
        self._credits[tier] = min(self._credits[tier], most)

    def forget(self, tier: Tier) -> None:
        """Forget those of a tier of which nothing waits any more."""
        self._credits[tier] = 0.0

    def share_call(self, call: Iterable[Attempt], waiting: Iterable[Tier]) -> None:
        """Give the tiers that are ``waiting`` their share of a call of better ones; charge those in
        the call.

        A tier owes at most what it has in this call. It may have sent much while the better ones
        might not leave; a debt of all that would keep it from its minimum share for as long.
        """
        sent = dict.fromkeys(TIERS, 0.0)
        for attempt in call:
            sent[attempt.flow.tier] += attempt.charged
        sent_by_better, is_better_waiting = 0.0, False
        for tier, tokens in sent.items():
            waits = tier in waiting
            if waits:
                self._credits[tier] += sent_by_better * MIN_TIER_SHARE / (1 - MIN_TIER_SHARE)
            if tokens:  # also where no better one waits: it has its share of what it sends then
                least = -tokens if is_better_waiting else min(0.0, self._credits[tier])
                self._credits[tier] = max(self._credits[tier] - tokens, least)
            sent_by_better += tokens
            is_better_waiting |= waits
        self._last_call_tokens = sent_by_better
