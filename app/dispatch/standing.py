"""How one deployment has been doing: health, latency and calls in flight, behind one lock."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from app.concurrency.locks import uncontended_lock
from app.config_dispatch import DispatchSettings
from app.dispatch.health import Health
from app.dispatch.latency import Latency
from app.errors import ProviderError, ProviderTimeout, Rejected

if TYPE_CHECKING:
    from app.dispatch.attempt import Batch

_LATENCY_TTL_S = 10.0  # for which an answer's latency is believed
_MAX_KINDS_REMEMBERED = 100  # of requests that it is remembered to have served
_NEVER = float("-inf")


class Standing:
    """What is known of a deployment. The lock guards everything here, `Health` and `Latency` too.

    Times are of the monotonic clock, in seconds.
    """

    def __init__(self, timeout: float, rng: random.Random, settings: DispatchSettings) -> None:
        self.health = Health(rng.random, settings)
        self.latency = Latency()
        self.answered_at = _NEVER
        self._timeout = timeout  # of the provider, for one call
        self._settings = settings
        #: When each call in flight left, and its items; by batch, oldest first.
        self._in_flight: dict[object, tuple[float, int]] = {}
        self._served: dict[Hashable, float] = {}  # kind of request → when one was last embedded
        self._refused_in_a_row = 0  # calls that ended with 400
        self._refusing_since = _NEVER  # when the first of these ended
        self._probes_cut = 0  # in a row, for they took too long
        self._was_confirmed = False  # its last 400 that was checked was right
        self._lock = uncontended_lock()

    # Before a call

    def may_be_asked(self, now: float, last_resort: bool = False, is_only: bool = False) -> bool:
        """Whether a call may go there. ``is_only``: its model has no other deployment."""
        with self._lock:
            if is_only:
                return self.health.may_serve_alone(now)
            return self.health.may_serve(now, last_resort)

    def chosen(self, now: float) -> bool:
        """A call is given to it; whether that is the probe of an ejected deployment."""
        with self._lock:
            return not self.health.is_probing and self.health.chosen(now)

    def probe_ended(self) -> None:
        """The probe has shown nothing."""
        with self._lock:
            self.health.probe_ended()

    def known_latency(self, now: float) -> float | None:
        """Seconds a call takes; None where no answer has shown it lately.

        Forgotten after a while, or one that was slow once would never be asked again.
        """
        return self.latency.average if now - self.answered_at < _LATENCY_TTL_S else None

    def seconds_a_call(self, now: float, unknown: float) -> float:
        """Seconds until a call to it succeeds, as far as is known.

        A deployment whose oldest call is late is as slow as that call already; one whose calls
        fail must be asked more than once. ``unknown`` stands in for a latency that is not known.
        """
        with self._lock:
            known = self.known_latency(now)
            seconds = unknown if known is None else known
            for call_started_at, _ in self._in_flight.values():
                seconds = max(seconds, now - call_started_at)
                break
            return seconds / max(0.05, 1 - self.health.failure_rate(now))

    def p95(self, items: int) -> float | None:
        """The p95 in seconds of calls of about so many items; None while unknown."""
        with self._lock:
            return self.latency.p95(items)

    def late_after(self, usual_s: float | None) -> float:
        """Seconds after which a call is late: another deployment may be asked as well.

        ``usual_s`` is the p95 of such calls, where one is known.
        """
        if usual_s is None:
            return min(self._timeout, self._settings.late_unknown)
        late = max(self._settings.late_floor, self._settings.late_factor * usual_s)
        return min(self._timeout, late)

    def trusts_400(self, kind: Hashable, now: float) -> bool:
        """Whether it has embedded a request of that kind lately: its 400 is the caller's fault.

        Not so when it has answered nothing but 400 since, too often.
        """
        with self._lock:
            if self._refused_in_a_row > self._settings.trusted_400s:
                return False
            return now - self._served.get(kind, _NEVER) <= self._settings.trust_400_for

    def doubts_400(self, kind: Hashable) -> bool:
        """Whether nothing speaks for its 400: another deployment has embedded what it refused; or
        it has not embedded such requests, or none for a while, and no other has confirmed its 400.
        """
        with self._lock:
            if self.health.has_refuted_400s:
                return True
            is_odd = (
                kind not in self._served or self._refused_in_a_row > self._settings.trusted_400s
            )
            return is_odd and not self._was_confirmed

    @property
    def in_flight(self) -> int:
        """Calls."""
        return len(self._in_flight)

    def state(self, now: float) -> str:
        """``ok``, ``resting`` or ``ejected``."""
        with self._lock:
            return self.health.state(now)

    def share(self, now: float) -> float:
        """The share of its weight that it gets now."""
        with self._lock:
            return self.health.share(now)

    def wait(self, now: float) -> float:
        """Seconds until it may be asked again; 0 where it may now."""
        with self._lock:
            return self.health.wait(now)

    def is_throttled(self, now: float) -> bool:
        """Whether it rests because it answered 429."""
        with self._lock:
            return self.health.is_throttled(now)

    # During a call

    def call_timeout(self, batch: Batch) -> float:
        """Seconds that a call may take.

        A probe should show soon whether the deployment is back. But one whose calls take long must
        be able to show it, or it would be lost for ever: the probe has several times the usual
        time, where that is known, and twice as long after each that was cut.
        """
        if not batch.is_probe:
            return self._timeout
        with self._lock:
            usual_s = self.latency.p95(batch.inputs)
            if usual_s is None:
                usual_s = self.latency.average
            if usual_s is None:
                return self._timeout
            limit = max(self._settings.probe_timeout, self._settings.cut_factor * usual_s)
            return min(self._timeout, limit * 2.0 ** min(self._probes_cut, 16))

    def call_started(self, batch: object, items: int, now: float) -> None:
        with self._lock:
            self._in_flight[batch] = (now, items)

    def call_ended(self, batch: object) -> None:
        with self._lock:
            self._in_flight.pop(batch, None)

    def is_silent(self, now: float, other_started_at: float) -> bool:
        """Whether its oldest call outlives the silence limit, while another deployment answered a
        call that left after it, at ``other_started_at``, now."""
        with self._lock:
            for call_started_at, items in self._in_flight.values():
                age = now - call_started_at
                return (
                    age >= self._settings.silence_floor
                    and other_started_at >= call_started_at
                    and not self.health.is_ejected
                    and age >= self._silence_limit(items, now - other_started_at)
                )
            return False

    # After a call

    def succeeded(self, items: int, call_started_at: float, now: float, kind: Hashable) -> bool:
        """A call brought vectors; whether the deployment is back from an ejection by it."""
        with self._lock:
            was_ejected = self.health.is_ejected
            straggler = self.health.is_straggler(call_started_at)
            self.latency.add(items, now - call_started_at)
            self.answered_at = now
            if call_started_at >= self._refusing_since:
                self._refused_in_a_row = 0
            self._probes_cut = 0
            self._served.pop(kind, None)
            self._served[kind] = now
            if len(self._served) > _MAX_KINDS_REMEMBERED:
                del self._served[next(iter(self._served))]
            if not straggler:
                self.health.succeeded(now, call_started_at)
            return was_ejected and not straggler

    def refused(self, trusted: bool, is_test: bool, call_started_at: float, now: float) -> None:
        """A call ended with 400. Where that is the caller's fault, the deployment is well.

        ``is_test``: one of the calls by which a refused batch is bisected, which show no more than
        the first refusal did.
        """
        with self._lock:
            if not self._refused_in_a_row:
                self._refusing_since = now
            if not is_test:
                self._refused_in_a_row += 1
            if self.health.is_straggler(call_started_at):
                return
            if trusted:
                self.health.succeeded(now, call_started_at)
            else:
                self.health.probe_ended()

    def refusal_confirmed(self) -> None:
        """Another deployment has refused with 400 what this one did."""
        with self._lock:
            self._was_confirmed = True

    def failed(
        self,
        error: ProviderError,
        items: int,
        call_started_at: float,
        now: float,
        others_answered_at: float | None,
        may_eject: Callable[[], bool],
    ) -> bool:
        """Judge a call that failed; whether the deployment is newly ejected for it.

        ``others_answered_at`` is when another deployment of the model last answered; None where
        there is no other.
        """
        with self._lock:
            health = self.health
            if health.is_straggler(call_started_at):
                return False  # the same fault again, not a verdict on the time since
            is_silence = False
            if isinstance(error, ProviderTimeout):
                self._probes_cut += health.is_probing
                age = now - call_started_at
                if age < self._evidence_after(items, call_started_at, others_answered_at):
                    health.probe_ended()  # the caller left early: that proves nothing
                    return False
                answered = others_answered_at is not None and others_answered_at >= call_started_at
                is_silence = answered and age >= self._silence_limit(items)
            was_ejected = health.is_ejected
            if health.failed(error, now, call_started_at) or is_silence:
                if was_ejected or may_eject():
                    health.eject(error, now)
                else:
                    health.suspect(now)
            return health.is_ejected and not was_ejected

    def refuted(
        self, batch_size: int, is_probe: bool, now: float, may_eject: Callable[[], bool]
    ) -> bool:
        """Another embedded what it answered 400 to; whether it is newly ejected for that.

        One that is ejected already stays so for longer only where the 400 came to its probe.
        """
        with self._lock:
            self._was_confirmed = False
            was_ejected = self.health.is_ejected
            if was_ejected and not is_probe:
                return False
            if self.health.refuted(batch_size) and (was_ejected or may_eject()):
                self.health.eject(Rejected("refused what another embeds"), now)
            return self.health.is_ejected and not was_ejected

    def suspect(self, now: float) -> None:
        """It is silent, and may not be ejected: ask it only where no other deployment is well."""
        with self._lock:
            self.health.suspect(now)

    def eject(self, error: ProviderError, now: float) -> None:
        """Eject it for what its calls in flight show."""
        with self._lock:
            self.health.failed(error, now, now)
            self.health.eject(error, now)

    def _silence_limit(self, items: int, others_took: float = 0.0) -> float:
        """``others_took``: seconds that a call to another deployment has just taken."""
        p95 = self.latency.p95(items)
        if p95 is None:
            return max(self._settings.late_unknown, self._settings.silence_factor * others_took)
        return max(self._settings.silence_floor, self._settings.silence_factor * p95)

    def _evidence_after(
        self, items: int, call_started_at: float, others_answered_at: float | None
    ) -> float:
        """Seconds after which a call without an answer counts as a failure."""
        settings = self._settings
        p95 = self.latency.p95(items)
        if others_answered_at is not None and others_answered_at >= call_started_at:
            limit = settings.silence_floor if p95 is None else settings.cut_factor * p95
        elif p95 is None:
            limit = settings.silence_floor
        else:
            limit = max(settings.late_floor, settings.late_factor * p95)
        return min(self._timeout, limit)
