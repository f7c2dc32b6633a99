"""Reservations in a real Valkey: they expire unless they are settled, and usage stays exact."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import LimitsUnavailable, QuotaExhausted
from app.limits.counters.redis import SharedWindows
from app.limits.counters.windows import UsageReservation
from app.limits.limiter import GRACE_S, Limiter
from tests.limits.conftest import MIDNIGHT, await_sent
from tests.limits.counters.charging import DAY, NAME, send, settle, take, used
from tests.limits.new_limits import NewCaller, declare
from tests.redis.patience import PATIENT_S
from tests.support.clock import Clock
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey


def test_reservation_of_a_killed_worker_expires(make_quiet_windows, clock):
    killed, other = make_quiet_windows(clock), make_quiet_windows(clock)
    take(killed, 100, UsageReservation("a", 90))
    clock.now += 89
    assert used(other) == 100
    clock.now += 2
    assert used(other) == 0


def test_settled_reservation_does_not_expire(make_quiet_windows, clock, redis):
    windows, other = make_quiet_windows(clock), make_quiet_windows(clock)
    reservation = UsageReservation("a", 90)
    settle(windows, take(windows, 100, reservation), 70, 100, reservation)
    send(windows, redis)
    assert used(other) == 70
    clock.now += 100
    assert used(other) == 70


def test_exact_estimate_settles_its_reservation(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    reservation = UsageReservation("a", 90)
    settle(windows, take(windows, 100, reservation), 100, 100, reservation)
    send(windows, redis)
    clock.now += 100
    assert used(windows) == 100


def test_usage_is_charged_whole_after_reservation_expired(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    reservation = UsageReservation("a", 90)
    taken = take(windows, 100, reservation)
    clock.now += 100
    assert used(windows) == 0
    settle(windows, taken, 70, 100, reservation)
    send(windows, redis)
    assert used(windows) == 70


def test_counters_and_reservations_expire_after_their_day(make_quiet_windows, redis):
    windows = make_quiet_windows()
    reservation = UsageReservation("a", 90)
    settle(windows, take(windows, 100, reservation), 70, 100, reservation)
    send(windows, redis)
    end = DAY.span(time.time()).end
    for name in (f"embeddings:limits:2:{NAME}", f"embeddings:limits:2:{NAME}:r"):
        assert redis.expiretime(name) == end + DAY.keep_s


def test_a_month_in_billionths_of_a_dollar_is_exact(make_quiet_windows, clock, redis):
    windows = make_quiet_windows(clock)
    most = 10**15
    reservation = UsageReservation("a", 90)
    taken = take(windows, most - 1, reservation, limit=most)
    assert take(windows, 2, limit=most).refused == 0
    settle(windows, taken, most - 3, most - 1, reservation)
    send(windows, redis)
    assert used(windows) == most - 3


def team(**limits):
    return Caller("team", **limits)


def request(tokens):
    return EmbeddingRequest("m", [[5] * tokens], timeout=5)


def outcome(tokens):
    return Outcome(Vectors([b"1234"], [tokens]), provider="p")


def test_a_request_is_reserved_until_a_minute_after_its_deadline(make_quiet_windows, clock):
    limiter = Limiter(make_quiet_windows(clock), clock=clock)
    limiter.admit(team(tokens_per_day=100), request(100))  # and its worker is killed
    clock.now += 5 + GRACE_S - 0.1
    with pytest.raises(QuotaExhausted):
        limiter.admit(team(tokens_per_day=100), request(100))
    clock.now += 0.2
    limiter.admit(team(tokens_per_day=100), request(100))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 120)), max_size=6))
def test_requests_of_a_month_are_counted_after_their_reservations_expired(
    make_quiet_windows, redis, steps
):
    """A request whose tokens were estimated exactly, and one that failed, are counted alike."""
    redis.flushdb()
    clock = Clock(MIDNIGHT)
    with pytest.MonkeyPatch.context() as monkeypatch:
        declare(monkeypatch)
        limiter = Limiter(make_quiet_windows(clock), clock=clock)
        key = NewCaller("team", requests_per_month=100, requests_per_minute=1000)
        for is_served, seconds in steps:
            grant = limiter.admit(key, request(10))
            limiter.settle(grant, outcome(10) if is_served else None, {})
            clock.now += seconds
        send(limiter.windows, redis)
        clock.now += 5 + GRACE_S + 0.1
        last = limiter.admit(key, request(10))
    assert [window.current for window in last.windows][1] == len(steps) + 1


def test_usage_during_an_outage_is_charged_afterwards(patient_steps):
    with Valkey() as server:
        limiter = Limiter(SharedWindows(server.url, timeout=PATIENT_S))
        key = team(tokens_per_day=100, tokens_per_minute=1000)
        limiter.settle(limiter.admit(key, request(10)), outcome(10), {})
        await_sent(limiter.windows)  # the server that starts again has not this
        server.kill()
        for _ in range(3):
            grant = limiter.admit(key, request(50))
            assert grant.windows is None
            limiter.settle(grant, outcome(20), {})
        server.start()  # empty: it runs without persistence
        eventually(lambda: not limiter.windows.state().away)
        await_sent(limiter.windows)
        assert limiter.admit(key, request(1)).windows[1].current == 61
        with pytest.raises(QuotaExhausted, match="limit 100, used"):
            limiter.admit(key, request(41))
        limiter.close()


def test_when_away_refuse_refuses_keys_with_a_budget(make_quiet_windows):
    windows = make_quiet_windows(url=f"redis://127.0.0.1:{free_port()}")
    limiter = Limiter(windows, refuse_when_away=True)
    for budget in ({"tokens_per_day": 1}, {"tokens_per_month": 1}, {"dollars_per_month": 1}):
        with pytest.raises(LimitsUnavailable) as caught:
            limiter.admit(team(**budget), request(1))
        assert (caught.value.status, caught.value.code) == (503, "usage_unavailable")
        assert caught.value.retry_after
    assert limiter.admit(team(requests_per_minute=1), request(1)).windows is None
    assert limiter.admit(team(), request(1)) is None
