"""The attempts that may not leave a queue now, as far as one pass over it has found. Pure."""

from __future__ import annotations

from collections.abc import Hashable

from app.dispatch.attempt import Attempt


class MustWait:
    """Attempts that may not leave, so that those like them are not looked at one by one.

    A quota without room for a call has none for a larger one of the same tier, and a call that is
    spaced is so with a later deadline, too. While a thousand attempts wait for a quota, a check of
    each would take a millisecond at each change of the queue. A call of twice the tokens is checked
    by itself: it may have to wait so long that it is refused.
    """

    __slots__ = ("_least",)

    def __init__(self) -> None:
        #: The tokens and the deadline of an attempt that must wait, by `_kind`.
        self._least: dict[Hashable, tuple[int, float]] = {}

    def add(self, attempt: Attempt) -> None:
        """Record that an attempt may not leave."""
        needs = attempt.tokens, attempt.deadline.at
        known = self._least.get(_kind(attempt))
        if known is None or (needs[0] <= known[0] and needs[1] <= known[1]):
            self._least[_kind(attempt)] = needs

    def has(self, attempt: Attempt) -> bool:
        """Whether an attempt may not leave, because one that needs no more may not."""
        if not self._least or attempt.is_probe:
            return False
        known = self._least.get(_kind(attempt))
        return known is not None and attempt.tokens >= known[0] and attempt.deadline.at >= known[1]


def _kind(attempt: Attempt) -> Hashable:
    """Return what attempts have in common that are about as large, and of the same tier."""
    return attempt.deployment, attempt.flow.tier, attempt.tokens.bit_length()
