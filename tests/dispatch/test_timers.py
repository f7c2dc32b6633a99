"""When a hedge leaves and when a call is late: counted from when it leaves its queue."""

import pytest

from app.dispatch.part import NEVER
from app.dispatch.timers import Timers
from app.errors import ProviderUnavailable
from tests.dispatch.parts import T, attempt, batch, deployment, part, pool

DEADLINE = T + 600


class Timed:
    """A part that runs at "a", where calls usually take 0.1 s, beside "b"."""

    def __init__(self, is_hedged=True, usual=0.1, names="ab", deadline=DEADLINE, **options):
        self.deployments = [deployment(name) for name in names]
        self.pool = pool(*self.deployments)
        a = self.deployments[0]
        for _ in range(20 if usual else 0):
            self.pool.ejector.succeeded(batch(attempt(a)), T - 50, T - 50 + usual)
        self.timers = Timers(self.pool, self.deployments, is_hedged)
        self.attempt = attempt(a, **options)
        self.part = part(1, attempts=[self.attempt])
        self.running = {self.attempt: self.part}
        self.timers.set(self.part, self.attempt, deadline, T)

    def hedge_at(self, now):
        return self.timers.is_hedge_due(self.part, self.attempt, now)

    def late_at(self, now):
        return self.timers.is_late(self.part, self.attempt, now)


def test_a_hedge_leaves_after_a_factor_times_the_p95():
    timed = Timed()
    timed.attempt.call_started_at = T
    assert timed.timers.next(timed.running) == pytest.approx(T + 0.15)
    assert not timed.hedge_at(T + 0.14)
    assert timed.hedge_at(T + 0.16)
    assert not timed.hedge_at(T + 10)  # once


def test_a_hedge_counts_from_when_the_call_leaves_its_queue():
    timed = Timed()
    assert not timed.hedge_at(T + 5)  # it still waits for a slot
    timed.attempt.call_started_at = T + 5
    assert not timed.hedge_at(T + 5.1)
    assert timed.hedge_at(T + 5.2)


@pytest.mark.parametrize("options", [{"is_hedged": False}, {"usual": None}], ids=str)
def test_no_hedge_where_none_is_wanted_or_no_p95_is_known(options):
    assert Timed(**options).part.hedge_at == NEVER


def test_a_slow_probe_is_hedged_whatever_the_settings_say():
    assert Timed(is_hedged=False, is_probe=True).part.hedge_after == pytest.approx(0.2)
    assert Timed(is_hedged=False, is_probe=True, usual=0.001).part.hedge_after == 0.05
    assert Timed(is_hedged=False, is_probe=True, usual=None).part.hedge_after == 0.5


@pytest.mark.parametrize(("usual", "late"), [(0.01, 2.0), (0.5, 10.0), (None, 10.0)])
def test_a_call_is_late_after_a_factor_times_the_p95_and_never_before_the_floor(usual, late):
    assert Timed(usual=usual).part.late_after == pytest.approx(late)


def test_a_call_is_late_when_half_of_the_time_is_gone():
    assert Timed(usual=0.5, deadline=T + 8).part.late_after == 4


def test_call_is_never_late_when_another_would_have_no_time():
    """Halves of what is left would else send one call after the other up to the deadline."""
    assert Timed(usual=0.5, deadline=T + 0.1).part.late_at == T + 0.05
    assert Timed(usual=0.5, deadline=T + 0.09).part.late_at == NEVER


def test_lateness_counts_from_when_the_call_leaves_its_queue():
    timed = Timed(usual=0.01)
    timed.attempt.call_started_at = T + 1.5
    assert not timed.late_at(T + 2)
    assert timed.part.late_at == T + 3.5
    assert timed.late_at(T + 3.5)
    assert timed.part.late_at == T + 5.5  # once more


def test_what_waits_too_long_for_a_slot_is_late_too():
    timed = Timed(usual=0.01)
    assert not timed.late_at(T + 1.9)
    assert timed.late_at(T + 2)


def test_without_another_deployment_no_time_is_set():
    timed = Timed(names="a")
    assert (timed.part.late_at, timed.part.hedge_at) == (NEVER, NEVER)
    assert timed.timers.next(timed.running) == NEVER
    assert list(timed.timers.due(timed.running, DEADLINE)) == []


def test_no_time_is_set_while_no_other_deployment_can_serve():
    timed = Timed()
    timed.part.late_at = timed.part.hedge_at = NEVER
    timed.part.failed_at[timed.deployments[1]] = ProviderUnavailable("failed with 503")
    timed.timers.set(timed.part, timed.attempt, DEADLINE, T)
    assert timed.timers.next(timed.running) == NEVER


def test_a_second_attempt_changes_no_time():
    timed = Timed()
    before = (timed.part.late_at, timed.part.hedge_at)
    hedge = attempt(timed.deployments[1])
    timed.part.attempts.append(hedge)
    timed.timers.set(timed.part, hedge, DEADLINE, T + 1)
    assert (timed.part.late_at, timed.part.hedge_at) == before
    assert not timed.hedge_at(T + 1)  # there is one already


def test_a_part_is_due_once_however_many_attempts_it_has():
    timed = Timed()
    hedge = attempt(timed.deployments[1])
    timed.running[hedge] = timed.part
    assert list(timed.timers.due(timed.running, T + 0.1)) == []
    assert list(timed.timers.due(timed.running, T + 0.2)) == [timed.part]
