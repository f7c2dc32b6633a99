"""The circuit breaker of one deployment. No I/O, no lock; the time is an argument.

A deployment is *ejected* after failures in a row, or when too many of its recent calls failed. Each
further ejection is twice as long as the last one, up to a limit, with jitter so that workers do not
probe together. Then one call, the *half-open probe*, decides whether it is back. One that is back
starts slowly: its share of the requests grows to the full weight within seconds, and until then a
further failure makes the next ejection longer.

Apart from that a deployment *rests* after a 429, or for as long as its provider asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.recent_calls import FailureRate
from app.errors import ConnectionFailed, CredentialsRefused, ProviderError, Throttled

#: A time and a time plus a duration may differ by this much through rounding.
_CLOCK_ERROR_S = 1e-6
_ROUNDING = 1e-6  # of a sum of fractions of calls
_FIRST_SHARE = 0.1  # of its weight that a deployment gets at once when it is back
_LOST_PROBE_FACTOR = 6.0  # times `probe_timeout`, after which a probe may count as lost
_LONG_AGO = float("-inf")


class DeploymentBreaker:
    """The circuit breaker of one deployment. ``jitter`` gives a number in [0, 1)."""

    def __init__(
        self, jitter: Callable[[], float], settings: DispatchSettings | None = None
    ) -> None:
        self._settings = settings or DispatchSettings()
        self._jitter = jitter
        self.failures_in_a_row = 0
        self.ejections_in_a_row = 0
        self.ejections_ever = 0
        self.last_error: str | None = None
        self.credentials_refused = False
        self._ejected_until: float | None = None
        self._tested_at = _LONG_AGO  # when it was ejected, or its last probe was submitted
        self._probe_until: float | None = None  # while a probe is under way
        self._suspect_until = _LONG_AGO
        self._back_since = _LONG_AGO
        self._resting_until = _LONG_AGO
        self._rest_began = _LONG_AGO
        self._rest_probed = _LONG_AGO
        self._rest_is_requested = False  # by the provider's Retry-After
        self._rests_in_a_row = 0
        self._rests_after_429 = False
        self.failure_rate = FailureRate(self._settings)
        self._refuted_400s = 0.0  # calls, in a row

    # State

    def state(self, now: float) -> Literal["ok", "resting", "ejected"]:
        if self._ejected_until is not None:
            return "ejected"
        return "resting" if now < self._resting_until else "ok"

    @property
    def is_ejected(self) -> bool:
        return self._ejected_until is not None

    @property
    def is_probing(self) -> bool:
        return self._probe_until is not None

    @property
    def has_refuted_400s(self) -> bool:
        """Whether another deployment has embedded what this one refused since its last success."""
        return self._refuted_400s > 0

    def is_throttled(self, now: float) -> bool:
        """Whether it rests because it answered 429."""
        return self._rests_after_429 and now < self._resting_until

    def may_be_called(self, now: float, last_resort: bool = False, is_only: bool = False) -> bool:
        """Whether a call may be sent.

        ``last_resort``: no other deployment may be called now. ``is_only``: no other can ever serve
        the request. The first case that applies holds:

        1. It rests: each ``rest_probe`` seconds, as the last resort or the only one; the only one
           at any time, unless its provider asked for the rest.
        2. It is the only one: yes, also while it is ejected.
        3. It is not ejected: yes; while it is suspect, as the last resort.
        4. Else: once the ejection has ended, as the last resort some seconds after its start or its
           last probe, and never while a probe is under way.
        """
        if now < self._resting_until:
            if is_only and not self._rest_is_requested:
                return True
            return (last_resort or is_only) and self._may_probe_rest(now)
        if is_only:
            return True
        if self._ejected_until is None:
            return last_resort or now >= self._suspect_until
        if self._probe_until is not None and now < self._probe_until:
            return False
        return now >= self._end_of_ejection(self._ejected_until, last_resort)

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call may be sent again; 0 where it may be sent now."""
        until = self._resting_until
        if self._ejected_until is not None:
            until = max(until, self._end_of_ejection(self._ejected_until, last_resort=True))
        return max(0.0, until - now)

    def share(self, now: float) -> float:
        """Return the share of its weight that it gets now: below 1 during the slow start."""
        length = self._settings.slow_start
        age = now - self._back_since
        if age >= length:
            return 1.0
        return _FIRST_SHARE + (1 - _FIRST_SHARE) * max(0.0, age) / length

    def is_straggler(self, call_started_at: float) -> bool:
        """Whether a call started before the ejection or before the last probe."""
        return (
            self._ejected_until is not None and call_started_at < self._tested_at - _CLOCK_ERROR_S
        )

    # Events

    def record_submitted(self, now: float) -> bool:
        """Record that an attempt is submitted; return whether it is the half-open probe.

        There is one probe at a time. But one whose result never arrives must not keep the
        deployment ejected for ever: it counts as lost after some time.
        """
        if self._probe_until is not None and now < self._probe_until:
            return False
        if now < self._resting_until:
            self._rest_probed = now
        if self._ejected_until is None:
            return False
        self._probe_until = now + _LOST_PROBE_FACTOR * self._settings.probe_timeout
        self._tested_at = now
        return True

    def probe_started(self, now: float, call_timeout: float) -> None:
        """Record that the call of the probe has started: it lasts at least until its timeout."""
        margin = self._settings.probe_timeout
        if self._probe_until is not None:
            self._probe_until = now + max(_LOST_PROBE_FACTOR * margin, call_timeout + margin)

    def probe_ended(self) -> None:
        """Record that the probe has shown nothing: the next attempt may be a probe."""
        self._probe_until = None

    def record_success(self, now: float, call_started_at: float) -> None:
        """Record a call that returned vectors, or a refusal that is the caller's fault."""
        self.failure_rate.count(now, failed=False)
        self.credentials_refused = False
        self.failures_in_a_row = 0
        self._refuted_400s = 0.0
        if call_started_at >= self._rest_began:
            self._rests_in_a_row = 0
            self._resting_until = _LONG_AGO
        if self._ejected_until is not None:
            self._ejected_until = None
            self._back_since = now
            self.failure_rate.reset(now)
        elif self.ejections_in_a_row and self.share(now) == 1.0:
            self.ejections_in_a_row = 0
        self._suspect_until = _LONG_AGO
        self._probe_until = None

    def record_failure(self, error: ProviderError, now: float, call_started_at: float) -> bool:
        """Record a call that failed; return whether the deployment is to be ejected."""
        self.last_error = error.message
        self.credentials_refused = isinstance(error, CredentialsRefused)
        was_probing, self._probe_until = self.is_probing, None
        if isinstance(error, Throttled):
            self._rest(error.retry_after, now, call_started_at)
            self._rests_after_429 = True
            if self._ejected_until is not None:  # a deployment that answers 429 is running again
                self._ejected_until = None
                self._back_since = now
            return False
        if error.retry_after is not None:
            self._rest(error.retry_after, now, call_started_at)
            self._rests_after_429 = False
        self.failure_rate.count(now, failed=True)
        self.failures_in_a_row += 1
        settings = self._settings
        limit = settings.failures_in_a_row
        if isinstance(error, ConnectionFailed):
            limit = settings.refusals_in_a_row
        return (
            was_probing
            or isinstance(error, CredentialsRefused)
            or self.failures_in_a_row >= limit
            or self.failure_rate.value(now) >= settings.failure_rate
        )

    def record_refuted_400(self, batch_size: int = 1) -> bool:
        """Record a 400 to items that another deployment embedded; whether it is to be ejected.

        Each of ``batch_size`` attempts that were refused together counts as a fraction of a call:
        one bad text in a batch of ten refuses nine good ones.
        """
        self._refuted_400s += 1 / batch_size
        self.last_error = "answered 400 to what another deployment embeds"
        limit = self._settings.refuted_400s - _ROUNDING
        return self._ejected_until is not None or self._refuted_400s >= limit

    def suspect(self, now: float) -> None:
        """Let it be called only as a last resort for a while: it may not be ejected."""
        self._suspect_until = now + self._settings.suspicion

    def eject(self, error: ProviderError, now: float) -> None:
        """Open the circuit breaker: no calls until a half-open probe."""
        settings = self._settings
        length = settings.first_ejection * 2.0 ** min(self.ejections_in_a_row, 16)
        if isinstance(error, CredentialsRefused):
            length = max(length, settings.credentials_ejection)
        length = min(length, settings.longest_ejection)
        self.ejections_in_a_row += 1
        self.ejections_ever += 1
        self._ejected_until = now + length * (0.5 + self._jitter() / 2)
        self._tested_at = now
        self._probe_until = None

    def _end_of_ejection(self, until: float, last_resort: bool) -> float:
        return min(until, self._tested_at + self._settings.last_resort) if last_resort else until

    def _may_probe_rest(self, now: float) -> bool:
        since = max(self._rest_began, self._rest_probed)
        return now >= since + self._settings.rest_probe

    def _rest(self, retry_after: float | None, now: float, call_started_at: float) -> None:
        """Rest for ``retry_after``; where it is None, if the call started after the last rest."""
        settings = self._settings
        if retry_after is not None:
            length = min(retry_after, settings.longest_asked_rest)
        elif call_started_at < max(self._rest_began, self._resting_until - _CLOCK_ERROR_S):
            return
        else:
            doubled = settings.first_rest * 2.0 ** min(self._rests_in_a_row, 16)
            length = min(doubled, settings.longest_rest) * (0.5 + self._jitter() / 2)
            self._rests_in_a_row += 1
        if call_started_at >= self._rest_began:
            self._rest_began = now
        is_still_requested = self._rest_is_requested and now < self._resting_until
        self._rest_is_requested = retry_after is not None or is_still_requested
        self._resting_until = max(self._resting_until, now + length)
