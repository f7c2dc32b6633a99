"""How long a call may take: until it is late, until it is cut, until it is evidence of a fault.

Pure. The limits follow from the p95 of such calls, where one is known.
"""

from __future__ import annotations

from app.config.dispatch import DispatchSettings

_MAX_DOUBLINGS = 16  # of the timeout of a probe


class TimeLimits:
    """The limits in seconds for the calls of one deployment; ``timeout``: its provider's own."""

    def __init__(self, timeout: float, settings: DispatchSettings) -> None:
        self.timeout = timeout
        self.silence_floor = settings.silence_floor
        self._settings = settings

    def late_after(self, p95_s: float | None) -> float:
        """Seconds after which a call is late: another deployment may be called as well."""
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
        """Seconds after which a call without an answer counts as a failure.

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
