"""Charges to budgets in a real Valkey: each is counted exactly once, whatever is lost."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError, ResponseError

from app.limits.counters import redis as shared_windows
from app.limits.counters.windows import Change, UsageReservation
from tests.limits.conftest import MIDNIGHT
from tests.limits.counters.charging import DAY, NAME, send, settle, take, used
from tests.support.clock import Clock

ACTIONS = ["settle", "settle", "die", "wait", "send", "lose"]


class Losing:
    """A client whose pipelines are executed, and whose replies are lost ``times`` times."""

    def __init__(self, client, times=1):
        self._client, self.times = client, times

    def pipeline(self, **options):
        pipe = self._client.pipeline(**options)
        execute = pipe.execute

        def lose(**options):
            replies = execute(**options)
            if self.times:
                self.times -= 1
                raise TimeoutError("no reply")
            return replies

        pipe.execute = lose
        return pipe


def test_charge_with_lost_reply_is_counted_once(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    reservation = UsageReservation("a", 90)
    settle(windows, take(windows, 100, reservation), 70, 100, reservation)
    losing = Losing(redis, times=2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            send(windows, losing)
    assert used(windows) == 70
    windows.change([Change(NAME, DAY, DAY.span(clock.now).number, 0, 5)])
    send(windows, losing)  # the one without a reply
    send(windows, losing)  # what came after it
    assert used(windows) == 75
    assert windows.dropped == 0


def test_charges_of_two_periods_with_lost_reply_are_counted_once(make_quiet_windows, clock, redis):
    """Usage before and after midnight is in one batch, in charges of one counter."""
    windows = make_quiet_windows(clock)
    yesterday = DAY.span(clock.now).number
    windows.change([Change(NAME, DAY, yesterday, 0, 100)])
    windows.change([Change(NAME, DAY, yesterday + 1, 0, 7)])
    losing = Losing(redis, times=2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            send(windows, losing)
    send(windows, losing)
    key = f"embeddings:limits:2:{NAME}"
    assert redis.hmget(key, yesterday, yesterday + 1) == [b"100", b"7"]
    clock.now += shared_windows.RESEND_S + 1
    used(windows)
    assert not [field for field in redis.hkeys(key) if field.startswith(b"s:")]


def test_usage_of_yesterday_is_charged_to_yesterday(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    reservation = UsageReservation("a", 1000)
    taken = take(windows, 100, reservation)
    clock.now += 86_400 - 1
    late = take(windows, 30, UsageReservation("b", 1000))
    clock.now += 1
    assert used(windows) == 0
    settle(windows, taken, 70, 100, reservation)
    settle(windows, late, 20, 30, UsageReservation("b", 1000))
    send(windows, redis)
    assert used(windows) == 0
    assert take(windows, 5).windows[0].current == 5


@pytest.mark.parametrize("passing", [OutOfMemoryError("x"), ResponseError("MISCONF cannot save")])
def test_charge_is_resent_after_a_temporary_error(make_quiet_windows, clock, redis, passing):
    windows = make_quiet_windows(clock)
    windows.change([Change(NAME, DAY, DAY.span(clock.now).number, 0, 5)])

    class Refusing:
        def pipeline(self, **_):
            return self

        def eval(self, *_):
            pass

        def execute(self, **_):
            return [passing]

    with pytest.raises(ResponseError):
        send(windows, Refusing())
    send(windows, redis)
    assert used(windows) == 5


def test_permanently_refused_charge_does_not_block_others(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    redis.set("embeddings:limits:2:{odd}:2", "not a hash")
    number = DAY.span(clock.now).number
    windows.change([Change("{odd}:2", DAY, number, 0, 5), Change(NAME, DAY, number, 0, 7)])
    send(windows, redis)
    assert used(windows) == 7
    assert windows.dropped == 1


def test_charges_over_the_bound_are_dropped_and_counted(
    make_quiet_windows, clock, redis, monkeypatch
):
    monkeypatch.setattr(shared_windows, "MAX_WAITING", 3)
    monkeypatch.setattr(shared_windows, "MAX_SENT", 2)
    windows = make_quiet_windows(clock)
    number = DAY.span(clock.now).number
    windows.change([Change(f"{{{n}}}:2", DAY, number, 0, 1) for n in range(5)])
    assert windows.dropped == 2
    send(windows, redis)
    send(windows, redis)
    assert len(redis.keys("*:2")) == 3


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(ACTIONS), st.integers(1, 50), st.integers(0, 60)), max_size=25
    )
)
def test_counts_equal_usage_after_all_failures(make_quiet_windows, redis, steps):
    """Counts are exact with killed workers, expiry, late charges and lost replies."""
    clock = Clock(MIDNIGHT)
    redis.flushdb()
    windows, expected = make_quiet_windows(clock), 0
    for number, (action, cost, amount) in enumerate(steps):
        reservation = UsageReservation(str(number), 50)
        if action == "wait":
            clock.now += amount
        elif action in ("send", "lose"):
            losing = Losing(redis, times=action == "lose")
            with contextlib.suppress(TimeoutError):
                send(windows, losing)
        else:
            taken = take(windows, cost, reservation)
            if action == "settle":
                settle(windows, taken, amount, cost, reservation)
                expected += amount
    clock.now += 51
    send(windows, redis)
    send(windows, redis)
    assert used(windows) == expected
