"""The measured state of one deployment: health, latency and calls in flight."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable

from app.concurrency.locks import uncontended_lock
from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.call_durations import CallDurations
from app.dispatch.health.circuit_breaker import DeploymentBreaker
from app.dispatch.health.recent_calls import Latency
from app.dispatch.health.refusals import Refusals
from app.dispatch.health.time_limits import Evidence, Silence, TimeLimits
from app.errors import ProviderError, ProviderTimeout, Rejected


class Standing:
    """The circuit breaker, latency and calls in flight of one deployment.

    The lock guards all changes but those of ``is_ejected_for_drift``. `is_ejected`, `in_flight`,
    ``refusals.doubted_until``, ``latency``, ``breaker`` and ``durations`` are read without it.
    """

    def __init__(self, timeout: float, rng: random.Random, settings: DispatchSettings) -> None:
        self.breaker = DeploymentBreaker(rng.random, settings)
        self.latency = Latency()
        self.durations = CallDurations()
        #: Its vectors have drifted from their reference, and CHECK["on_drift"] is "eject".
        self.is_ejected_for_drift = False
        self.time_limits = TimeLimits(timeout, settings)
        self.refusals = Refusals(settings)
        self._silence = Silence(self.time_limits, self.latency)
        self._lock = uncontended_lock()

    def may_be_called(self, now: float, last_resort: bool = False, is_only: bool = False) -> bool:
        """Whether a call may be sent. ``is_only``: no other deployment can serve the request."""
        if self.is_ejected_for_drift:
            return False
        with self._lock:
            return self.breaker.may_be_called(now, last_resort, is_only)

    def record_submitted(self, now: float, is_only: bool = False) -> bool | None:
        """Record that an attempt is submitted; return whether it is the half-open probe.

        None: no call may be sent any more, since another request has sent the probe meanwhile.
        """
        with self._lock:
            may_be_called = self.breaker.may_be_called(now, last_resort=True, is_only=is_only)
            return self.breaker.record_submitted(now) if may_be_called else None

    def probe_ended(self) -> None:
        """Record that the probe has shown nothing: the next attempt may be a probe."""
        with self._lock:
            self.breaker.probe_ended()

    def seconds_a_call(self, now: float, unknown_s: float) -> float:
        """Return the expected seconds until a call succeeds: at least the age of the oldest one.

        They are divided by the share of calls that succeed. ``unknown_s``: for an unknown latency.
        """
        with self._lock:
            recent_s = self.latency.recent_average_s(now)
            call_s = unknown_s if recent_s is None else recent_s
            seconds = max(call_s, self._silence.age_of_oldest(now))
            return seconds / max(0.05, 1 - self.breaker.failure_rate.value(now))

    def p95_s(self, items: int) -> float | None:
        """Return the p95 in seconds of calls of about so many items; None while unknown."""
        with self._lock:
            return self.latency.p95_s(items)

    def trusts_400(self, kind: Hashable, now: float) -> bool:
        """Whether a 400 to a request of that kind is taken as the caller's fault."""
        with self._lock:
            return self.refusals.are_trusted(kind, now, self._silence.in_flight)

    def doubts_400(self, kind: Hashable, now: float) -> bool:
        """Whether a 400 to a request of that kind may be the provider's fault."""
        with self._lock:
            in_flight = self._silence.in_flight
            return self.breaker.has_refuted_400s or self.refusals.are_doubted(kind, now, in_flight)

    @property
    def is_ejected(self) -> bool:
        """Whether it is ejected, for failures or for drift."""
        return self.is_ejected_for_drift or self.breaker.is_ejected

    @property
    def in_flight(self) -> int:
        """The number of calls that have started and not ended."""
        return self._silence.in_flight

    def state(self, now: float) -> str:
        """``ok``, ``resting``, ``ejected`` or ``drifted``."""
        if self.is_ejected_for_drift:
            return "drifted"
        with self._lock:
            return self.breaker.state(now)

    def share(self, now: float) -> float:
        """Return the share of its weight that it gets now: below 1 during the slow start."""
        with self._lock:
            return self.breaker.share(now)

    def wait_s(self, now: float, ignores_drift: bool = False) -> float:
        """Return the seconds until it may be called again: 0 for now, infinite after drift."""
        if self.is_ejected_for_drift and not ignores_drift:
            return float("inf")
        with self._lock:
            return self.breaker.wait_s(now)

    def is_throttled(self, now: float) -> bool:
        """Whether it rests because it answered 429."""
        with self._lock:
            return self.breaker.is_throttled(now)

    # During a call

    def start_probe(self, items: int, now: float) -> float:
        """Record that the call of the half-open probe starts; return its timeout in seconds."""
        with self._lock:
            timeout = self._silence.probe_timeout(items)
            self.breaker.probe_started(now, timeout)
            return timeout

    def call_started(self, batch: object, items: int, now: float) -> None:
        with self._lock:
            self._silence.call_started(batch, items, now)

    def call_ended(self, batch: object) -> None:
        with self._lock:
            self._silence.call_ended(batch)

    def is_silent(self, now: float, other_started_at: float) -> bool:
        """Whether it is not ejected, but should be for a silence: see `Silence.is_overdue`."""
        with self._lock:
            return self._silence.is_overdue(now, other_started_at) and not self.breaker.is_ejected

    # After a call

    def record_success(
        self, items: int, call_started_at: float, now: float, kind: Hashable, tokens: int
    ) -> bool:
        """Record a call with vectors, of so many expected tokens; whether that ends an ejection."""
        with self._lock:
            self.durations.learn(items, tokens, now - call_started_at)
            breaker, silence, was_ejected = self.breaker, self._silence, self.breaker.is_ejected
            caused_ejection = silence.is_cause_of(call_started_at, breaker.ejections_ever)
            straggler = breaker.is_straggler(call_started_at) and not caused_ejection
            self.latency.add(items, now - call_started_at, now)
            self.refusals.record_success(kind, call_started_at, now)
            silence.record_answer()
            if not straggler:
                breaker.record_success(now, call_started_at)
            return was_ejected and not straggler

    def record_refusal(
        self,
        call_started_at: float,
        now: float,
        kind: Hashable,
        *,
        trusted: bool,
        is_probe: bool,
        is_test: bool,
    ) -> None:
        """Record a call that ended with 400. ``trusted``: by the caller's fault, so a success.

        ``is_test``: a call of a bisection, which repeats refused items.
        """
        with self._lock:
            self.refusals.record_refusal(is_test, now)
            if self.breaker.is_straggler(call_started_at):
                return
            if trusted:
                self.breaker.record_success(now, call_started_at)
            elif is_probe:
                self.breaker.probe_ended()
            else:
                self.refusals.record_untrusted(kind, now, self.in_flight)

    def confirm_refusal(self, kind: Hashable, now: float) -> None:
        """Record that another deployment refused the same items, of that kind, with 400."""
        with self._lock:
            self.refusals.record_confirmation(kind, now)

    def record_failure(
        self,
        error: ProviderError,
        items: int,
        call_started_at: float,
        now: float,
        others_answered_at: float | None,
        may_eject: Callable[[], bool],
        is_probe: bool,
    ) -> bool:
        """Record a call that failed; return whether that ejects the deployment.

        ``others_answered_at`` is when another deployment of the model last answered; None where
        there is no other. ``may_eject`` says whether the pool allows an ejection. A call beside
        the half-open probe (not ``is_probe``) decides nothing.
        """
        with self._lock:
            breaker, silence = self.breaker, self._silence
            if breaker.is_straggler(call_started_at) or (breaker.is_probing and not is_probe):
                return False  # it is older than the ejection, or only the probe decides
            evidence = Evidence.FAULT
            if isinstance(error, ProviderTimeout):
                if breaker.is_probing:
                    silence.probes_cut += 1
                evidence = silence.evidence_of(items, call_started_at, now, others_answered_at)
                if evidence is Evidence.NONE:
                    breaker.probe_ended()
                    return False
            was_ejected = breaker.is_ejected
            if breaker.record_failure(error, now, call_started_at) or evidence is Evidence.SILENCE:
                if was_ejected or may_eject():
                    breaker.eject(error, now)
                else:
                    breaker.suspect(now)
            return breaker.is_ejected and not was_ejected

    def record_refuted_400(
        self, batch_size: int, is_probe: bool, now: float, may_eject: Callable[[], bool]
    ) -> bool:
        """Record that another deployment embedded what this one refused; whether that ejects it.

        A deployment that is ejected already is ejected for longer only if its probe got the 400.
        """
        with self._lock:
            self.refusals.record_refuted()
            was_ejected = self.breaker.is_ejected
            if was_ejected and not is_probe:
                return False
            if self.breaker.record_refuted_400(batch_size) and (was_ejected or may_eject()):
                self.breaker.eject(Rejected("refused what another embeds"), now)
            return self.breaker.is_ejected and not was_ejected

    def suspect(self, now: float) -> None:
        """Mark it as silent where it may not be ejected: it is called only as a last resort."""
        with self._lock:
            self.breaker.suspect(now)

    def eject(self, error: ProviderError, now: float) -> None:
        """Eject it because its calls in flight get no answer."""
        with self._lock:
            self.breaker.record_failure(error, now, now)
            self.breaker.eject(error, now)
            self._silence.record_ejection(now, self.breaker.ejections_ever)
