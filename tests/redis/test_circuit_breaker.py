"""`CircuitBreaker`: when it opens, when it closes, and when a probe is due."""

from hypothesis import given
from hypothesis import strategies as st

from app.redis.circuit_breaker import (
    FAILURES_TO_OPEN,
    MAX_PROBE_INTERVAL_S,
    PROBE_INTERVAL_S,
    RELAPSE_WITHIN_S,
    CircuitBreaker,
)
from tests.support.clock import Clock


def test_opens_after_failures_in_a_row():
    breaker = CircuitBreaker(Clock(100))
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.record_failure()
    breaker.record_success()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.record_failure()
    assert not breaker.is_open
    assert breaker.record_failure()
    assert breaker.is_open
    assert not breaker.record_failure()  # it was open already


def test_only_a_good_probe_closes_it():
    breaker = CircuitBreaker(Clock(100))
    assert breaker.record_failure(is_certain=True)
    breaker.record_success()
    assert breaker.is_open
    assert not breaker.record_probe(is_good=False)
    assert breaker.record_probe(is_good=True)
    assert not breaker.is_open
    assert not breaker.record_probe(is_good=True)


def test_bad_probe_opens_it():
    breaker = CircuitBreaker(Clock(100))
    assert breaker.record_probe(is_good=False)
    assert breaker.is_open


def test_probe_is_due_an_interval_after_opening_and_after_each_bad_probe():
    clock = Clock(100)
    breaker = CircuitBreaker(clock)
    breaker.record_failure(is_certain=True)
    assert breaker.seconds_to_probe() == PROBE_INTERVAL_S
    clock.now += PROBE_INTERVAL_S
    assert breaker.seconds_to_probe() <= 0
    breaker.record_failure()  # of a call that began before
    assert breaker.seconds_to_probe() <= 0
    breaker.record_probe(is_good=False)
    assert breaker.seconds_to_probe() == PROBE_INTERVAL_S


def test_interval_grows_for_a_server_that_passes_probes_and_fails_at_work():
    clock = Clock(100)
    breaker = CircuitBreaker(clock)
    intervals = []
    for _ in range(6):
        breaker.record_failure(is_certain=True)
        intervals.append(breaker.probe_interval_s)
        breaker.record_probe(is_good=True)
        clock.now += RELAPSE_WITHIN_S / 2
    first, most = PROBE_INTERVAL_S, MAX_PROBE_INTERVAL_S
    assert intervals == [first, 2 * first, 4 * first, most, most, most]
    clock.now += RELAPSE_WITHIN_S
    breaker.record_failure(is_certain=True)
    assert breaker.probe_interval_s == first


@given(st.lists(st.sampled_from(["failure", "certain", "success", "good", "bad"]), max_size=40))
def test_each_change_is_reported_once(events):
    breaker = CircuitBreaker(Clock(100))
    in_a_row = 0
    for event in events:
        was_open, changed = breaker.is_open, None
        if event in ("failure", "certain"):
            in_a_row += 1
            changed = breaker.record_failure(is_certain=event == "certain")
            assert breaker.is_open or in_a_row < FAILURES_TO_OPEN
        elif event == "success":
            breaker.record_success()
            in_a_row = in_a_row if was_open else 0
            assert breaker.is_open == was_open
        else:
            changed = breaker.record_probe(is_good=event == "good")
            assert breaker.is_open == (event == "bad")
            in_a_row = 0 if event == "good" else in_a_row
        if changed is not None:
            assert changed == (breaker.is_open != was_open)
        assert PROBE_INTERVAL_S <= breaker.probe_interval_s <= MAX_PROBE_INTERVAL_S
