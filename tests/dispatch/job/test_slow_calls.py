"""The times of hedges and of late calls, which start when a call is sent."""

import pytest

from app.dispatch.job.part import NEVER
from app.dispatch.job.slow_calls import Timers
from app.dispatch.queue.attempts import AttemptState
from app.errors import ProviderUnavailable
from tests.dispatch.parts import T, attempt, batch, deployment, part, pool
from tests.dispatch.pools import eject

DEADLINE = T + 600


class Timed:
    """A part that runs at "a", whose calls usually take 0.1 s; "b" is available."""

    def __init__(self, is_hedged=True, usual=0.1, names="ab", deadline=DEADLINE, **options):
        self.deployments = [deployment(name) for name in names]
        self.pool = pool(*self.deployments)
        a = self.deployments[0]
        for _ in range(20 if usual else 0):
            self.pool.ejector.record_success(batch(attempt(a)), T - 50, T - 50 + usual)
        self.timers = Timers(self.pool, self.deployments, is_hedged)
        self.attempt = attempt(a, deadline=deadline, **options)
        self.part = part(1, attempts=[self.attempt])
        self.running = {self.attempt: self.part}
        self.timers.set(self.part, self.attempt, deadline, T)

    def check_hedge(self, now):
        return self.timers.check_hedge(self.part, self.attempt, now)

    def check_late(self, now):
        return self.timers.check_late(self.part, now)


def test_hedge_time_is_a_factor_times_the_p95():
    timed = Timed()
    timed.attempt.call_started_at = T
    assert timed.timers.next(timed.running) == pytest.approx(T + 0.15)
    assert not timed.check_hedge(T + 0.14)
    assert timed.check_hedge(T + 0.16)
    assert not timed.check_hedge(T + 10)  # once


def test_hedge_time_starts_when_the_call_is_sent():
    timed = Timed()
    assert not timed.check_hedge(T + 5)  # it still waits for a slot
    timed.attempt.call_started_at = T + 5
    assert not timed.check_hedge(T + 5.1)
    assert timed.check_hedge(T + 5.2)


@pytest.mark.parametrize("options", [{"is_hedged": False}, {"usual": None}], ids=str)
def test_no_hedge_if_off_or_without_p95(options):
    assert Timed(**options).part.hedge_at == NEVER


def test_slow_probe_is_hedged_without_the_setting():
    assert Timed(is_hedged=False, is_probe=True).part.hedge_after == pytest.approx(0.2)
    assert Timed(is_hedged=False, is_probe=True, usual=0.001).part.hedge_after == 0.05
    assert Timed(is_hedged=False, is_probe=True, usual=None).part.hedge_after == 0.5


@pytest.mark.parametrize(("usual", "late"), [(0.01, 2.0), (0.5, 10.0), (None, 10.0)])
def test_call_is_late_after_a_factor_times_the_p95_and_at_least_the_floor(usual, late):
    assert Timed(usual=usual).part.late_after == pytest.approx(late)


def test_call_is_late_at_half_of_the_remaining_time():
    assert Timed(usual=0.5, deadline=T + 8).part.late_at == T + 4


def test_call_is_never_late_when_another_would_have_no_time():
    """Halves of what is left would else send one call after the other up to the deadline."""
    assert Timed(usual=0.5, deadline=T + 0.1).part.late_at == T + 0.05
    assert Timed(usual=0.5, deadline=T + 0.09).part.late_at == NEVER


def test_late_time_starts_when_the_call_is_sent():
    timed = Timed(usual=0.01)
    timed.attempt.call_started_at = T + 1.5
    assert not timed.check_late(T + 2)
    assert timed.part.late_at == T + 3.5
    assert timed.check_late(T + 3.5)
    assert timed.part.late_at == T + 5.5  # once more


def test_with_half_of_the_time_left_it_is_late_again_at_half_of_the_rest():
    """Where nothing could be done at first: another deployment may be back by then."""
    timed = Timed(usual=0.5, deadline=T + 8)
    looks = []
    while timed.part.late_at < NEVER:
        looks.append(timed.part.late_at - T)
        assert timed.check_late(timed.part.late_at)
    assert looks == [4, 6, 7, 7.5, 7.75, 7.875, 7.9375]


def test_call_that_starts_late_is_late_at_half_of_the_time_that_is_left_then():
    timed = Timed(usual=0.5, deadline=T + 8)
    timed.attempt.call_started_at = T + 3
    assert not timed.check_late(T + 4)
    assert timed.part.late_at == T + 5.5
    assert timed.check_late(T + 5.5)


def test_attempt_that_waits_too_long_for_a_slot_is_late():
    timed = Timed(usual=0.01)
    assert not timed.check_late(T + 1.9)
    assert timed.check_late(T + 2)


def test_call_that_was_just_sent_beside_a_late_one_is_not_late():
    """It had waited for a slot for all the time after which the part counts as late again."""
    timed = Timed(usual=0.01)
    timed.attempt.call_started_at = T
    beside = attempt(timed.deployments[1])
    timed.part.attempts.append(beside)
    timed.part.late_at, beside.call_started_at = T + 4, T + 3.9
    assert not timed.check_late(T + 4)
    assert timed.part.late_at == T + 5.9
    assert timed.check_late(T + 5.9)


def test_without_another_deployment_no_time_is_set():
    timed = Timed(names="a")
    assert (timed.part.late_at, timed.part.hedge_at) == (NEVER, NEVER)
    assert timed.timers.next(timed.running) == NEVER
    assert list(timed.timers.due(timed.running, DEADLINE)) == []


def test_times_are_set_although_no_other_deployment_can_serve_yet():
    timed = Timed()
    timed.part.late_at = timed.part.hedge_at = NEVER
    timed.part.last_errors[timed.deployments[1]] = ProviderUnavailable("failed with 503")
    eject(timed.pool, timed.deployments[1], now=T)
    timed.timers.set(timed.part, timed.attempt, DEADLINE, T)
    assert timed.part.late_at == pytest.approx(T + 2)
    assert timed.part.hedge_at == pytest.approx(T + 0.15)


def test_second_attempt_does_not_change_times():
    timed = Timed()
    before = (timed.part.late_at, timed.part.hedge_at)
    hedge = attempt(timed.deployments[1])
    timed.part.attempts.append(hedge)
    timed.timers.set(timed.part, hedge, DEADLINE, T + 1)
    assert (timed.part.late_at, timed.part.hedge_at) == before
    assert not timed.check_hedge(T + 1)  # there is one already


def test_part_is_due_once_with_any_number_of_attempts():
    timed = Timed()
    hedge = attempt(timed.deployments[1])
    timed.running[hedge] = timed.part
    assert list(timed.timers.due(timed.running, T + 0.1)) == []
    assert list(timed.timers.due(timed.running, T + 0.2)) == [timed.part]


def test_attempt_that_waits_after_the_refusal_of_its_batch_is_not_hedged():
    """Its hedge time starts again when it is sent again."""
    timed = Timed()
    timed.attempt.call_started_at = T
    timed.attempt.state = AttemptState.QUEUED
    assert not timed.check_hedge(T + 5)
    timed.attempt.call_started_at = T + 6
    timed.attempt.state = AttemptState.IN_FLIGHT
    assert not timed.check_hedge(T + 6.1)
    assert timed.check_hedge(T + 6.2)
