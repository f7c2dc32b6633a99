"""Measures how many calls at once help at a provider whose ``concurrency`` is ``"auto"``.

More calls in flight help as long as each of them takes no longer. By Little's law the throughput is
calls in flight over seconds a call, so what counts is the gradient: by how many per cent the
seconds rise where the calls in flight rise by one per cent. It is 0 while the provider has capacity
to spare, and 1 where each further call only waits there. The limit is raised while it is low, and
lowered where it is close to 1: see Netflix's concurrency-limits, and Kleinrock's "power" (1979).

The gradient must be measured, so the limit alternates between a little less and a little more, by
the clock that all workers share: the calls in flight of all of them rise and fall together, and
each worker measures what all of them do to the provider. (Alone, each would see only its own share
of the effect.) The latency of an idle provider, which a busy one never shows, is not needed.

With fewer calls at once, merged calls are larger. What a provider saves by that is added to
the gradient: else a provider that computes one call at a time would get many small ones.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from app.concurrency.locks import uncontended_lock
from app.dispatch.health.call_durations import CallDurations

_FIRST_LIMIT = 8  # of all workers together
_DITHER = 0.1  # the share of the limit by which it alternates, down and up
_TARGET_GRADIENT = 0.85  # at which the limit stays
_MAX_RISE = 0.25  # of the logarithm of the limit, in one cycle without a gradient
_MAX_FALL = 0.35  # the same, at a gradient of 1
_CUT_FACTOR = 0.7  # times the limit, after a 429 or a timeout
_MIN_CALLS = 16  # that a gradient needs, of this cycle and, with less weight, of earlier ones
_MIN_VARIANCE = 1e-3  # of the logarithm of the calls in flight, that a gradient needs, too
#: The part of what merging saves that counts: below the target, so that the limit does not fall
#: where fewer, larger calls would only be as good.
_MERGING_WEIGHT = 0.8
_CYCLE_WEIGHT = 0.8  # the weight of a cycle, relative to that of the next one, at an equal limit
_MIN_HALF_S = 0.25  # seconds of half a cycle, at least
_MIN_HALF_CALLS = 4  # half a cycle is at least so many times as long as a call takes
_HYSTERESIS = 1.5  # half a cycle is made shorter if its half is so many times what is needed
_MEAN_WEIGHT = 0.1  # of the newest call in the moving average of the seconds a call takes
_LATE_FACTOR = 2.0  # times the expected seconds, after which a timeout is the provider's fault


class AdaptiveLimit:
    """The calls at once of one provider, for one worker; times are in seconds.

    ``low`` and ``high`` bound it. ``clock_offset`` is added to each time: with it, the times of all
    workers should be those of one clock. The lock guards all fields; nothing waits under it.
    """

    def __init__(self, low: int, high: int, workers: int = 1, clock_offset: float = 0.0) -> None:
        self._low, self._high = low, high
        self._limit = float(min(high, max(low, _FIRST_LIMIT / workers)))
        self._offset = clock_offset
        self._durations: dict[Hashable, CallDurations] = {}
        self._gradient = _Gradient()
        self._half_s = _MIN_HALF_S
        self._mean_s = 0.0  # a call takes, a moving average
        self._cycle = 0
        self._is_partial = True  # this cycle began in its middle
        self._cut_at = float("-inf")
        self._lock = uncontended_lock()

    @property
    def limit(self) -> int:
        """The calls at once that it has found to be right; `slots` are a little less or more."""
        return round(self._limit)

    def slots(self, now: float) -> int:
        """Return how many calls may be in flight now; at least 1."""
        with self._lock:
            return self._slots(self._is_high(now))

    def record_success(
        self,
        deployment: Hashable,
        size: tuple[int, int],
        requests: int,
        in_flight: int,
        was_full: bool,
        started_at: float,
        now: float,
    ) -> None:
        """Learn from an answered call of ``size`` (items, tokens), of so many ``requests``.

        ``in_flight`` are the calls at its start, with itself; ``was_full``: they were as many as
        allowed. Only then does their number follow from the limit, and not the other way round.
        """
        seconds = max(now - started_at, 1e-6)
        with self._lock:
            self._mean_s += _MEAN_WEIGHT * (seconds - self._mean_s)
            durations = self._durations.setdefault(deployment, CallDurations())
            expected = durations.expected_s(*size)
            # Only from the lower half: merged calls are larger there, and what that costs must not
            # be taken for an effect of the calls in flight.
            if expected is None or not self._is_high(started_at):
                durations.add(*size, seconds)
            if expected is not None and was_full:
                slowdown = math.log(seconds / expected)
                if requests > 1:  # what fewer, larger calls would save
                    slowdown -= _MERGING_WEIGHT * durations.fixed_share(*size) * math.log(requests)
                self._gradient.add(math.log(in_flight), slowdown)
            self._end_cycle(now)

    def record_failure(
        self,
        deployment: Hashable,
        size: tuple[int, int],
        started_at: float,
        now: float,
        is_timeout: bool = False,
    ) -> None:
        """Learn from a call that was refused with 429, or timed out: cut the limit.

        Calls in flight at a cut fail for the same reason, so that they cut no further.
        """
        with self._lock:
            if started_at < self._cut_at:
                return
            durations = self._durations.get(deployment)
            expected = durations.expected_s(*size) if durations is not None else None
            if is_timeout and expected is not None and now - started_at < _LATE_FACTOR * expected:
                return  # the caller's deadline was short
            self._set_limit(self._limit * _CUT_FACTOR)
            self._cut_at = now
            self._gradient = _Gradient()

    # Under the lock

    def _is_high(self, at: float) -> bool:
        return int((at + self._offset) / self._half_s) % 2 == 1

    def _slots(self, is_high: bool) -> int:
        lower = max(self._low, math.floor(self._limit * (1 - _DITHER)))
        if not is_high:
            return lower
        return min(self._high, max(lower + 1, math.ceil(self._limit * (1 + _DITHER))))

    def _end_cycle(self, now: float) -> None:
        """Change the limit by the gradient of the last cycle, once a cycle has ended."""
        cycle = int((now + self._offset) / (2 * self._half_s))
        if cycle == self._cycle:
            return
        self._cycle = cycle
        self._gradient.end_cycle(is_counted=not self._is_partial)
        self._is_partial = False
        gradient = self._gradient.value()
        step = 0.0
        if gradient is not None:
            if gradient < _TARGET_GRADIENT:
                step = _MAX_RISE * (1 - max(0.0, gradient) / _TARGET_GRADIENT)
            else:
                step = -_MAX_FALL * (gradient - _TARGET_GRADIENT) / (1 - _TARGET_GRADIENT)
            step = max(-_MAX_FALL, step)
            self._set_limit(self._limit * math.exp(step))
        # The cycles were measured at the old limit: the further the new one is, the less they say.
        self._gradient.decay(_CYCLE_WEIGHT ** (1 + abs(step) / _DITHER))
        self._set_half(now)

    def _set_half(self, now: float) -> None:
        """Change the seconds of half a cycle where calls take longer, or much shorter, by now.

        They are a power of two, so that workers whose calls take about as long have equal cycles.
        """
        long_enough = max(_MIN_HALF_S, _MIN_HALF_CALLS * self._mean_s)
        if long_enough > self._half_s:
            self._gradient = _Gradient()  # the old one says nothing of slower calls
        if long_enough > self._half_s or _HYSTERESIS * long_enough < self._half_s / 2:
            self._half_s = 2.0 ** math.ceil(math.log2(long_enough))
            self._cycle = int((now + self._offset) / (2 * self._half_s))
            self._is_partial = True

    def _set_limit(self, limit: float) -> None:
        self._limit = min(float(self._high), max(float(self._low), limit))


class _Gradient:
    """The slope of y by x, by least squares within cycles: each cycle has an intercept of its own.

    A cycle counts less than the next one.
    """

    def __init__(self) -> None:
        self._calls = self._variance = self._covariance = 0.0  # sums, of cycles that have ended
        self._n = self._x = self._y = self._xx = self._xy = 0.0  # sums, of this cycle

    def add(self, x: float, y: float) -> None:
        """Add a call of this cycle."""
        self._n += 1
        self._x += x
        self._y += y
        self._xx += x * x
        self._xy += x * y

    def end_cycle(self, is_counted: bool) -> None:
        """Count the calls of this cycle, or drop them."""
        if self._n and is_counted:
            self._calls += self._n
            self._variance += self._xx - self._x * self._x / self._n
            self._covariance += self._xy - self._x * self._y / self._n
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def decay(self, factor: float) -> None:
        """Multiply the weight of the cycles that have ended by a factor."""
        self._calls *= factor
        self._variance *= factor
        self._covariance *= factor

    def value(self) -> float | None:
        """Return the slope; None where too few calls were made, or all with as many in flight."""
        if self._calls < _MIN_CALLS or self._variance < _MIN_VARIANCE * self._calls:
            return None
        return self._covariance / self._variance
