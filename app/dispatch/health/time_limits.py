"""How long a call may take, and what it proves where it got no answer by then. No I/O, no lock.

The limits follow from the p95 of such calls, where one is known.
`app.dispatch.health.standing.Standing` owns a `Silence`, and holds its own lock during every call.
"""

from __future__ import annotations

from enum import Enum

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.recent_calls import Latency

_MAX_DOUBLINGS = 16  # of the timeout of a probe
_MIN_CALLS = 3  # that prove a silence: one or two may be slow by chance


class TimeLimits:
    """The limits in seconds for the calls of one deployment; ``timeout``: its provider's own."""

    def __init__(self, timeout: float, settings: DispatchSettings) -> None:
        self.timeout = timeout
        self.silence_floor = settings.silence_floor
        self._settings = settings

    def late_after(self, p95_s: float | None) -> float:
        """Return the seconds after which a call is late: another deployment may be called, too."""
        if p95_s is None:
            return min(self.timeout, self._settings.late_unknown)
        late = max(self._settings.late_floor, self._settings.late_factor * p95_s)
        return min(self.timeout, late)

    def probe_timeout(self, p95_or_average_s: float | None, probes_cut: int) -> float:
        """Return the timeout of a half-open probe, after ``probes_cut`` that reached theirs.

        A short timeout shows soon that the deployment still fails. But a deployment that recovered
        and is slow would never pass a probe that is too short: the timeout is several times the
        usual latency, where that is known, and doubles after each probe that reached it.
        """
        if p95_or_average_s is None:
            return self.timeout
        limit = max(self._settings.probe_timeout, self._settings.cut_factor * p95_or_average_s)
        return min(self.timeout, limit * 2.0 ** min(probes_cut, _MAX_DOUBLINGS))

    def silence_after(
        self, p95_s: float | None, others_took_s: float = 0.0, average: float | None = None
    ) -> float:
        """Return the age in seconds from which a call without an answer shows a silence.

        ``others_took_s``: seconds that a call to another deployment has just taken. ``average``: of
        the calls of all sizes, for a size whose p95 is not known.
        """
        if p95_s is None:
            usual_s = max(others_took_s, average or 0.0)
            return max(self._settings.late_unknown, self._settings.silence_factor * usual_s)
        return max(self._settings.silence_floor, self._settings.silence_factor * p95_s)

    def evidence_after(
        self, p95_s: float | None, has_other_answered: bool, average: float | None = None
    ) -> float:
        """Return the seconds after which a call without an answer counts as a failure.

        ``has_other_answered``: another deployment has answered since the call started.
        """
        settings = self._settings
        if p95_s is None:
            limit = max(settings.silence_floor, settings.cut_factor * (average or 0.0))
        elif has_other_answered:
            limit = settings.cut_factor * p95_s
        else:
            limit = max(settings.late_floor, settings.late_factor * p95_s)
        return min(self.timeout, limit)


class Evidence(Enum):
    """What a call proves that got no answer in time."""

    NONE = "none"  # the caller's deadline was too short
    FAULT = "fault"  # one failure
    SILENCE = "silence"  # the deployment is to be ejected at once


class Silence:
    """The calls of one deployment that have no answer; times are in monotonic seconds."""

    def __init__(self, limits: TimeLimits, latency: Latency) -> None:
        self._limits = limits
        self._latency = latency
        #: When each call in flight started, and its items; by batch, oldest first.
        self._in_flight: dict[object, tuple[float, int]] = {}
        self._unanswered = _UnansweredCalls()
        self._ejected_for = (0.0, 0)  # the start of a silent call, and the ejection's number
        self.probes_cut = 0  # in a row, by their timeout

    # Calls in flight

    @property
    def in_flight(self) -> int:
        """The number of calls that have started and not ended."""
        return len(self._in_flight)

    def call_started(self, batch: object, items: int, now: float) -> None:
        self._in_flight[batch] = (now, items)

    def call_ended(self, batch: object) -> None:
        self._in_flight.pop(batch, None)

    def age_of_oldest(self, now: float) -> float:
        """Return the age in seconds of the oldest call in flight; 0 without one."""
        call_started_at, _ = self._oldest(now)
        return now - call_started_at

    def _oldest(self, now: float) -> tuple[float, int]:
        """Return when the oldest call in flight started, and its items; now and 0 without one."""
        return next(iter(self._in_flight.values()), (now, 0))

    def is_overdue(self, now: float, other_started_at: float) -> bool:
        """Whether the oldest call in flight has taken so long that it shows a silence.

        ``other_started_at`` is when a call started that another deployment has just answered: it
        must be the later one.
        """
        call_started_at, items = self._oldest(now)
        age, limits = now - call_started_at, self._limits
        if age < limits.silence_floor or other_started_at < call_started_at:
            return False
        p95_s, others_took_s = self._latency.p95_s(items), now - other_started_at
        return age >= limits.silence_after(p95_s, others_took_s, self._latency.average)

    # Ejections

    def record_ejection(self, now: float, ejection: int) -> None:
        """Record that the oldest call in flight has caused the ejection of that number."""
        call_started_at, _ = self._oldest(now)
        self._ejected_for = (call_started_at, ejection)

    def is_cause_of(self, call_started_at: float, ejection: int) -> bool:
        """Whether that call has caused the ejection of that number, by being silent."""
        return self._ejected_for == (call_started_at, ejection)

    # Calls that have ended

    def record_answer(self) -> None:
        """Record an answer."""
        self._unanswered.reset()
        self.probes_cut = 0

    def probe_timeout(self, items: int) -> float:
        """Return the timeout in seconds of a half-open probe of so many items."""
        usual_s = self._latency.p95_or_average_s(items)
        return self._limits.probe_timeout(usual_s, self.probes_cut)

    def evidence_of(
        self,
        items: int,
        call_started_at: float,
        now: float,
        others_answered_at: float | None,
    ) -> Evidence:
        """Record a call that got no answer in time; return what it proves.

        ``others_answered_at`` is when another deployment of the model last answered.
        """
        limits, p95_s, average = self._limits, self._latency.p95_s(items), self._latency.average
        age = silent_s = now - call_started_at
        has_other = others_answered_at is not None and others_answered_at >= call_started_at
        if has_other and p95_s is not None and age >= p95_s:
            silent_s = max(age, self._unanswered.add(call_started_at, now))
        if has_other and silent_s >= limits.silence_after(p95_s, average=average):
            return Evidence.SILENCE
        if age < limits.evidence_after(p95_s, has_other, average):
            return Evidence.NONE
        return Evidence.FAULT


class _UnansweredCalls:
    """Counts the calls since the last answer that took longer than usual and were then cut.

    Such a call alone proves no fault: its hedge has won, or its caller's timeout was short. But
    several in a row, without an answer to any other call meanwhile, prove as much as one that
    lasted from the start of the first until the end of the last.
    """

    def __init__(self) -> None:
        self._number = 0
        self._first_started_at = 0.0

    def reset(self) -> None:
        """Record an answer."""
        self._number = 0

    def add(self, call_started_at: float, now: float) -> float:
        """Record a call without an answer; return the seconds of silence that are proven."""
        if not self._number:
            self._first_started_at = call_started_at
        self._number += 1
        return now - self._first_started_at if self._number >= _MIN_CALLS else 0.0
