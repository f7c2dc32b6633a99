"""The limits of a call follow from its usual time, and never exceed the provider's own timeout."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.health.time_limits import TimeLimits

SETTINGS = DispatchSettings()
P95 = st.none() | st.floats(0.001, 100)
TIMEOUT = st.floats(0.1, 600)


@given(TIMEOUT, P95, st.booleans(), st.integers(0, 2000))
def test_no_limit_exceeds_the_timeout(timeout, p95, has_other_answered, probes_cut):
    limits = TimeLimits(timeout, SETTINGS)
    assert 0 < limits.late_after(p95) <= timeout
    assert 0 < limits.evidence_after(p95, has_other_answered) <= timeout
    assert 0 < limits.probe_timeout(p95, probes_cut) <= timeout


def test_timeout_of_a_call_that_usually_takes_as_long_is_no_evidence_of_a_fault():
    limits = TimeLimits(600.0, replace(SETTINGS, silence_floor=1.0, cut_factor=4.0))
    assert limits.evidence_after(None, True) == 1.0
    assert limits.evidence_after(None, True, average=12.0) == 48.0


@given(P95, st.integers(0, 30))
def test_a_probe_after_one_that_was_cut_has_twice_the_time(p95, probes_cut):
    limits = TimeLimits(1e12, SETTINGS)
    before, after = (limits.probe_timeout(p95, cut) for cut in (probes_cut, probes_cut + 1))
    assert after == (2 * before if p95 is not None and probes_cut < 16 else before)


@pytest.mark.parametrize(
    ("p95", "others_took", "average", "limit"),
    [
        (None, 0.0, None, 10.0),
        (None, 3.0, None, 30.0),
        (None, 3.0, 12.0, 120.0),
        (0.01, 3.0, 12.0, 1.0),
        (1, 0.0, None, 10.0),
    ],
)
def test_silence_is_known_by_the_p95_or_by_what_calls_took(p95, others_took, average, limit):
    settings = replace(SETTINGS, late_unknown=10.0, silence_factor=10.0, silence_floor=1.0)
    assert TimeLimits(60.0, settings).silence_after(p95, others_took, average) == limit
