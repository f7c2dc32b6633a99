"""How many calls at once a deployment answers as fast as a few. No I/O."""

from __future__ import annotations

from app.concurrency.locks import uncontended_lock
from app.dispatch.health.call_durations import CallDurations

#: While at most so many calls are in flight, what they take is the baseline. What calls take while
#: more are in flight is compared with it.
BASELINE_CALLS = 4
_MIN_BASELINE_CALLS = 4  # before others are compared with them
_SLOWED_FACTOR = 1.2  # times the baseline, above which calls are slowed by each other
_MAX_FACTOR = 2.0  # times the baseline, that one call counts at most
_CALL_WEIGHT = 0.04  # of the newest call in the moving average of these factors
_INCREASE = 0.25  # for each call that is not slowed
_DECREASE = 0.6  # times the calls at once that were slowed
#: Calls at once, as a share of the estimate: with fewer, a call does not show that more are
#: possible.
_MIN_SHARE = 1 / 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 8.0, 64.0  # after a decrease, before more calls are tried
_RAISED_FACTOR = 1.5  # times the calls at once that were slowed, at which that is forgotten


class UnslowedCalls:
    """Estimates the most calls at once that do not slow each other, by their seconds.

    It rises while calls take about the baseline for their size. When they take longer on average,
    it falls below the calls at once that were slowed, and stays there for a pause, which doubles
    each time: so more calls are tried, but seldom. Calls take longer where the provider works on
    fewer at once than it has slots, and where the worker is too busy to send them and to read their
    answers.

    ``most``: the estimate; at least `BASELINE_CALLS`. ``now`` and times are in seconds. The lock
    guards all fields; `app.dispatch.queue.batch` reads ``most`` without it.
    """

    def __init__(self) -> None:
        self.most = float(BASELINE_CALLS)
        self._baseline = CallDurations()
        self._baseline_calls = 0
        self._factor = 1.0  # a moving average: seconds of calls by their baseline
        self._decreased_at = float("-inf")
        self._slowed_calls = 0  # at once, before the last decrease
        self._pause_s = 0.0  # after the last decrease
        self._lock = uncontended_lock()

    def learn(
        self, calls_at_once: int, items: int, tokens: int, seconds: float, now: float
    ) -> None:
        """Learn from the seconds of an answered call of so many items and expected tokens.

        ``calls_at_once``: the calls in flight when it started, itself included. With exactly
        `BASELINE_CALLS` it counts for both, so that the estimate can rise from there.
        """
        with self._lock:
            if calls_at_once >= BASELINE_CALLS:
                self._adjust(calls_at_once, seconds, self._baseline.expected_s(items, tokens), now)
            if calls_at_once <= BASELINE_CALLS:
                self._baseline.learn(items, tokens, seconds)
                self._baseline_calls += 1

    def _adjust(
        self, calls_at_once: int, seconds: float, baseline: float | None, now: float
    ) -> None:
        if baseline is None or self._baseline_calls < _MIN_BASELINE_CALLS:
            return
        if now - seconds < self._decreased_at:  # it was slowed by the same others
            return
        if calls_at_once > BASELINE_CALLS:
            factor = min(seconds / baseline, _MAX_FACTOR)
            self._factor += _CALL_WEIGHT * (factor - self._factor)
        if self._factor > _SLOWED_FACTOR:
            self.most = max(float(BASELINE_CALLS), _DECREASE * min(self.most, calls_at_once))
            self._decreased_at, self._slowed_calls, self._factor = now, calls_at_once, 1.0
            self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
        elif calls_at_once >= _MIN_SHARE * self.most and now >= self._decreased_at + self._pause_s:
            self.most += _INCREASE
            if self.most > _RAISED_FACTOR * self._slowed_calls:
                self._pause_s = 0.0
