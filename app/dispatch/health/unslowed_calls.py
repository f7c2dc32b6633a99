"""How many calls at once a deployment answers as fast as a few. No I/O, no lock."""

from __future__ import annotations

from app.dispatch.health.call_durations import CallDurations

#: While at most so many calls are in flight, what they take is the baseline. What calls take while
#: more are in flight is compared with it.
BASELINE_CALLS = 4
_UNSLOWED_FACTOR = 1.2  # times the baseline, below which a call is not slowed by the others
_SLOWED_FACTOR = 1.5  # times the baseline, above which it is
_DECREASE = 0.9  # times the estimate, for each call that is slowed
#: Calls at once, as a share of the estimate: with fewer, a call does not show that more are
#: possible. With a half, calls among 16 would let 64 clients have calls of two, which slow each
#: other before a provider that works on 16.
_MIN_SHARE = 3 / 4


class UnslowedCalls:
    """Estimates the most calls at once that do not slow each other, by their seconds.

    It is an additive increase and multiplicative decrease (AIMD), like TCP's congestion window. A
    call that takes about the baseline for its size adds one; a call that takes much longer takes a
    tenth off. Calls take longer where the provider works on fewer at once than it has slots, and
    where the worker is too busy to send them and to read their answers.

    ``most``: the estimate; at least `BASELINE_CALLS`.
    """

    def __init__(self) -> None:
        self.most = float(BASELINE_CALLS)
        self._baseline = CallDurations()

    def learn(self, calls_at_once: int, items: int, tokens: int, seconds: float) -> None:
        """Learn from the seconds of an answered call of so many items and expected tokens.

        ``calls_at_once``: the calls in flight when it started, itself included. With exactly
        `BASELINE_CALLS` it counts for both, so that the estimate can rise from there.
        """
        if calls_at_once >= BASELINE_CALLS:
            self._adjust(calls_at_once, seconds, self._baseline.expected(items, tokens))
        if calls_at_once <= BASELINE_CALLS:
            self._baseline.learn(items, tokens, seconds)

    def _adjust(self, calls_at_once: int, seconds: float, baseline: float | None) -> None:
        if baseline is None:
            return
        if seconds > _SLOWED_FACTOR * baseline:
            self.most = max(float(BASELINE_CALLS), _DECREASE * self.most)
        elif seconds < _UNSLOWED_FACTOR * baseline and calls_at_once >= _MIN_SHARE * self.most:
            self.most += 1
