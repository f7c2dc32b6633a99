"""Whether a deployment is fit to be asked: a circuit breaker, as a value of time. No I/O, no lock.

A deployment is *ejected* after failures in a row, or when too many of its recent calls failed. Each
ejection is longer than the one before, with jitter so that workers do not return in step. Then one
call, the *probe*, decides whether it is back. Apart from that it *rests* while the provider asked
to be left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.errors import ConnectionFailed, CredentialsRefused, ProviderError, Throttled

#: Seconds by which a time and a duration may disagree.
_CLOCK_ERROR = 1e-6


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """Times in seconds."""

    failures_in_a_row: int = 5
    refusals_in_a_row: int = 3  # of the connection itself: nobody is there
    failure_rate: float = 0.6  # of the calls in the window, once there are enough
    calls_enough: int = 20
    window: float = 10.0
    first_ejection: float = 1.0
    longest_ejection: float = 60.0
    credentials_ejection: float = 60.0
    #: How long one that may not be ejected is asked only where nobody else is well.
    suspicion: float = 5.0
    #: How often an ejected deployment is probed while nobody else can serve.
    last_resort: float = 1.0
    first_rest: float = 0.5  # after a 429 that does not say how long
    longest_rest: float = 60.0


class Health:
    """The state of one deployment. ``jitter`` gives a number in [0, 1)."""

    def __init__(self, jitter: Callable[[], float], policy: HealthPolicy | None = None) -> None:
        self._policy = policy or HealthPolicy()
        self._jitter = jitter
        self.failures_in_a_row = 0
        self.ejections = 0  # in a row: a success after the probe resets it
        self.ejections_ever = 0
        self.last_error: str | None = None
        self.refuses_our_key = False
        self._ejected_until: float | None = None
        self._tried_at = float("-inf")  # when it was ejected, or a probe last left
        self._probing = False
        self._suspect_until = float("-inf")
        self._resting_until = float("-inf")
        self._rests = 0
        self._throttled = False
        self._window = (float("-inf"), 0, 0)  # start, calls, failures
        self._window_before = (0, 0)  # calls, failures

    def state(self, now: float) -> str:
        """``ok``, ``resting`` or ``ejected``."""
        if self._ejected_until is not None:
            return "ejected"
        return "resting" if now < self._resting_until else "ok"

    def is_throttled(self, now: float) -> bool:
        """Whether it rests because it answered 429."""
        return self._throttled and now < self._resting_until

    def may_serve(self, now: float, last_resort: bool = False) -> bool:
        """Whether a call may go there. ``last_resort``: nobody else can serve."""
        if now < self._resting_until:
            return False
        if self._ejected_until is None:
            return last_resort or now >= self._suspect_until
        if self._probing:
            return False
        back = self._ejected_until
        if last_resort:
            back = min(back, self._tried_at + self._policy.last_resort)
        return now >= back

    def wait(self, now: float) -> float:
        """Seconds until a call may go there again; 0 where it may now."""
        until = self._resting_until
        if self._ejected_until is not None:
            until = max(until, min(self._ejected_until, self._tried_at + self._policy.last_resort))
        return max(0.0, until - now)

    def is_straggler(self, left_at: float) -> bool:
        """Whether a call that left then was under way before the ejection, or before the probe."""
        return self._ejected_until is not None and left_at < self._tried_at - _CLOCK_ERROR

    def leave(self, now: float) -> bool:
        """A call goes there; whether it is the probe of an ejected deployment."""
        if self._ejected_until is None:
            return False
        self._probing = True
        self._tried_at = now
        return True

    def withdraw(self) -> None:
        """The probe did not take place after all."""
        self._probing = False

    def succeeded(self, now: float) -> None:
        self._count(now, failed=False)
        self.refuses_our_key = False
        self.failures_in_a_row = 0
        self._rests = 0
        if self._ejected_until is not None:
            self._ejected_until = None
            self._window = (now, 0, 0)
            self._window_before = (0, 0)
        self.ejections = 0
        self._suspect_until = float("-inf")
        self._probing = False

    def failed(self, error: ProviderError, now: float) -> bool:
        """Count a failure; whether the deployment deserves to be ejected for it."""
        self.last_error = error.message
        self.refuses_our_key = isinstance(error, CredentialsRefused)
        if isinstance(error, Throttled):
            self._rest(error.retry_after, now)
            self._throttled = True
            self._probing = False  # whoever can say 429 is back
            self._ejected_until = None
            return False
        if error.retry_after is not None:
            self._rest(error.retry_after, now)
            self._throttled = False
        self._count(now, failed=True)
        self.failures_in_a_row += 1
        probed, self._probing = self._probing, False
        policy = self._policy
        limit = (
            policy.refusals_in_a_row
            if isinstance(error, ConnectionFailed)
            else policy.failures_in_a_row
        )
        return (
            probed
            or isinstance(error, CredentialsRefused)
            or self.failures_in_a_row >= limit
            or self.failure_rate(now) >= policy.failure_rate
        )

    def suspect(self, now: float) -> None:
        """It deserves to be ejected, and may not be."""
        self._suspect_until = now + self._policy.suspicion

    def eject(self, error: ProviderError, now: float) -> None:
        policy = self._policy
        length = policy.first_ejection * 2.0 ** min(self.ejections, 16)
        if isinstance(error, CredentialsRefused):
            length = max(length, policy.credentials_ejection)
        length = min(length, policy.longest_ejection)
        self.ejections += 1
        self.ejections_ever += 1
        self._ejected_until = now + length * (0.5 + self._jitter() / 2)
        self._tried_at = now

    def failure_rate(self, now: float) -> float:
        """Of the recent calls; 0 while they are too few, or too long ago, to tell."""
        if now - self._window[0] >= 2 * self._policy.window:
            return 0.0
        calls = self._window[1] + self._window_before[0]
        failures = self._window[2] + self._window_before[1]
        return failures / calls if calls >= self._policy.calls_enough else 0.0

    def _count(self, now: float, failed: bool) -> None:
        start, calls, failures = self._window
        if now - start >= self._policy.window:
            # Two windows side by side: the rate looks back one to two of them.
            recent = now - start < 2 * self._policy.window
            self._window_before = (calls, failures) if recent else (0, 0)
            start, calls, failures = now, 0, 0
        self._window = (start, calls + 1, failures + failed)

    def _rest(self, asked: float | None, now: float) -> None:
        policy = self._policy
        if asked is None:
            asked = policy.first_rest * 2.0 ** min(self._rests, 16) * (0.5 + self._jitter() / 2)
        self._rests += 1
        self._resting_until = max(self._resting_until, now + min(asked, policy.longest_rest))
