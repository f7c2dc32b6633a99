"""How many calls at once a deployment answers as fast as a few. No I/O, no lock."""

from __future__ import annotations

from app.dispatch.health.call_durations import CallDurations

#: Calls at once that are a few: the seconds of all others are compared with theirs.
FEW_CALLS = 4
_UNSLOWED_FACTOR = 1.2  # times the seconds among a few, below which a call is not slowed
_SLOWED_FACTOR = 1.5  # the same, above which it is slowed
_DECREASE = 0.9  # times the calls at once, for each call that is slowed
_MIN_SHARE = 1 / 2  # of the known calls at once, among which a call shows that more are possible


class UnslowedCalls:
    """Counts up while calls among many take no longer than among a few, and down while they do.

    A call takes longer where the provider works on fewer at once than its slots are, and where the
    worker is too busy to send it and to read its answer. ``most`` is at least `FEW_CALLS`.
    """

    def __init__(self) -> None:
        self.most = float(FEW_CALLS)
        self._among_few = CallDurations()

    def learn(self, calls_at_once: int, items: int, tokens: int, seconds: float) -> None:
        """Learn from an answered call; ``calls_at_once``: those in flight at its start, with it."""
        if calls_at_once >= FEW_CALLS:
            self._count(calls_at_once, seconds, self._among_few.expected(items, tokens))
        if calls_at_once <= FEW_CALLS:
            self._among_few.learn(items, tokens, seconds)

    def _count(self, calls_at_once: int, seconds: float, expected: float | None) -> None:
        if expected is None:
            return
        if seconds > _SLOWED_FACTOR * expected:
            self.most = max(float(FEW_CALLS), _DECREASE * self.most)
        elif seconds < _UNSLOWED_FACTOR * expected and calls_at_once >= _MIN_SHARE * self.most:
            self.most += 1
