"""Budgets in a real Valkey: usage is charged exactly once, and reservations expire."""

import contextlib
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError, ResponseError

from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.errors import LimitsUnavailable, QuotaExhausted
from app.limits import redis as shared_windows
from app.limits.limiter import GRACE_S, Limiter
from app.limits.periods import Calendar
from app.limits.redis import SharedWindows
from app.limits.windows import Change, Reservation, Take
from tests.limits.new_limits import NewCaller, declare
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey

DAY = Calendar("day")
NAME = "{k}:2"


class Clock:
    """A clock that tests set, at the beginning of a day."""

    now = 86_400.0 * 27_000  # far ahead, because the server expires keys by its own clock

    def __call__(self):
        return self.now


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


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(valkey, redis):
    """Makes windows in the server, one for each worker, without a background task."""
    made = []

    def make(clock=None, url=valkey.url):
        windows = SharedWindows(url, timeout=0.5, clock=clock)
        made.append(windows)
        windows.remote.wake = lambda: None
        return windows

    yield make
    for windows in made:
        windows.close()


def take(windows, cost, reservation=None, limit=10**9):
    return windows.take([Take(NAME, limit, DAY, cost)], reservation)


def used(windows):
    return take(windows, 0).windows[0].current


def settle(windows, taken, amount, cost, reservation):
    windows.change([Change(NAME, DAY, taken.windows[0].period_number, cost, amount)], reservation)


def send(windows, client):
    windows._send(client, False)


def test_reservation_of_a_killed_worker_expires(make, clock):
    killed, other = make(clock), make(clock)
    take(killed, 100, Reservation("a", 90))
    clock.now += 89
    assert used(other) == 100
    clock.now += 2
    assert used(other) == 0


def test_settled_reservation_does_not_expire(make, clock, redis):
    windows, other = make(clock), make(clock)
    reservation = Reservation("a", 90)
    settle(windows, take(windows, 100, reservation), 70, 100, reservation)
    send(windows, redis)
    assert used(other) == 70
    clock.now += 100
    assert used(other) == 70


def test_exact_estimate_settles_its_reservation(make, clock, redis):
    windows = make(clock)
    reservation = Reservation("a", 90)
    settle(windows, take(windows, 100, reservation), 100, 100, reservation)
    send(windows, redis)
    clock.now += 100
    assert used(windows) == 100


def test_usage_is_charged_whole_after_reservation_expired(make, clock, redis):
    windows = make(clock)
    reservation = Reservation("a", 90)
    taken = take(windows, 100, reservation)
    clock.now += 100
    assert used(windows) == 0
    settle(windows, taken, 70, 100, reservation)
    send(windows, redis)
    assert used(windows) == 70


def test_charge_with_lost_reply_is_counted_once(make, clock, redis):
    windows = make(clock)
    reservation = Reservation("a", 90)
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


def test_charges_of_two_periods_with_lost_reply_are_counted_once(make, clock, redis):
    """Usage before and after midnight is in one batch, in charges of one counter."""
    windows = make(clock)
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


def test_usage_of_yesterday_is_charged_to_yesterday(make, clock, redis):
    windows = make(clock)
    reservation = Reservation("a", 1000)
    taken = take(windows, 100, reservation)
    clock.now += 86_400 - 1
    late = take(windows, 30, Reservation("b", 1000))
    clock.now += 1
    assert used(windows) == 0
    settle(windows, taken, 70, 100, reservation)
    settle(windows, late, 20, 30, Reservation("b", 1000))
    send(windows, redis)
    assert used(windows) == 0
    assert take(windows, 5).windows[0].current == 5


def test_counters_and_reservations_expire_after_their_day(make, redis):
    windows = make()
    reservation = Reservation("a", 90)
    settle(windows, take(windows, 100, reservation), 70, 100, reservation)
    send(windows, redis)
    end = DAY.span(time.time()).end
    for name in (f"embeddings:limits:2:{NAME}", f"embeddings:limits:2:{NAME}:r"):
        assert redis.expiretime(name) == end + DAY.keep_s


def test_a_month_in_billionths_of_a_dollar_is_exact(make, clock, redis):
    windows = make(clock)
    most = 10**15
    reservation = Reservation("a", 90)
    taken = take(windows, most - 1, reservation, limit=most)
    assert take(windows, 2, limit=most).refused == 0
    settle(windows, taken, most - 3, most - 1, reservation)
    send(windows, redis)
    assert used(windows) == most - 3


@pytest.mark.parametrize("passing", [OutOfMemoryError("x"), ResponseError("MISCONF cannot save")])
def test_charge_is_resent_after_a_temporary_error(make, clock, redis, passing):
    windows = make(clock)
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


def test_permanently_refused_charge_does_not_block_others(make, clock, redis):
    windows = make(clock)
    redis.set("embeddings:limits:2:{odd}:2", "not a hash")
    number = DAY.span(clock.now).number
    windows.change([Change("{odd}:2", DAY, number, 0, 5), Change(NAME, DAY, number, 0, 7)])
    send(windows, redis)
    assert used(windows) == 7
    assert windows.dropped == 1


def test_charges_over_the_bound_are_dropped_and_counted(make, clock, redis, monkeypatch):
    monkeypatch.setattr(shared_windows, "MAX_WAITING", 3)
    monkeypatch.setattr(shared_windows, "MAX_SENT", 2)
    windows = make(clock)
    number = DAY.span(clock.now).number
    windows.change([Change(f"{{{n}}}:2", DAY, number, 0, 1) for n in range(5)])
    assert windows.dropped == 2
    send(windows, redis)
    send(windows, redis)
    assert len(redis.keys("*:2")) == 3


ACTIONS = ["settle", "settle", "die", "wait", "send", "lose"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(ACTIONS), st.integers(1, 50), st.integers(0, 60)), max_size=25
    )
)
def test_counts_equal_usage_after_all_failures(make, redis, steps):
    """Counts are exact with killed workers, expiry, late charges and lost replies."""
    clock = Clock()
    redis.flushdb()
    windows, expected = make(clock), 0
    for number, (action, cost, amount) in enumerate(steps):
        reservation = Reservation(str(number), 50)
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


def team(**limits):
    return Caller("team", **limits)


def request(tokens):
    return EmbeddingRequest("m", [[5] * tokens], timeout=5)


def outcome(tokens):
    return Outcome(Vectors([b"1234"], [tokens]), provider="p")


def test_a_request_is_reserved_until_a_minute_after_its_deadline(make, clock):
    limiter = Limiter(make(clock), clock=clock)
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
def test_requests_of_a_month_are_counted_after_their_reservations_expired(make, redis, steps):
    """A request whose tokens were estimated exactly, and one that failed, are counted alike."""
    redis.flushdb()
    clock = Clock()
    with pytest.MonkeyPatch.context() as monkeypatch:
        declare(monkeypatch)
        limiter = Limiter(make(clock), clock=clock)
        key = NewCaller("team", requests_per_month=100, requests_per_minute=1000)
        for is_served, seconds in steps:
            grant = limiter.admit(key, request(10))
            limiter.settle(grant, outcome(10) if is_served else None, {})
            clock.now += seconds
        send(limiter.windows, redis)
        clock.now += 5 + GRACE_S + 0.1
        last = limiter.admit(key, request(10))
    assert [window.current for window in last.windows][1] == len(steps) + 1


def test_usage_during_an_outage_is_charged_afterwards():
    with Valkey() as server:
        limiter = Limiter(SharedWindows(server.url, timeout=0.5))
        key = team(tokens_per_day=100, tokens_per_minute=1000)
        limiter.settle(limiter.admit(key, request(10)), outcome(10), {})
        server.kill()
        for _ in range(3):
            grant = limiter.admit(key, request(50))
            assert grant.windows is None
            limiter.settle(grant, outcome(20), {})
        server.start()  # empty: it runs without persistence
        eventually(lambda: (g := limiter.admit(key, request(1))) and g.windows is not None, 5)
        eventually(lambda: limiter.admit(key, request(1)).windows[1].current >= 60, 5)
        with pytest.raises(QuotaExhausted, match="limit 100, used"):
            limiter.admit(key, request(41))
        limiter.close()


def test_when_away_refuse_refuses_keys_with_a_budget(make):
    windows = make(url=f"redis://127.0.0.1:{free_port()}")
    limiter = Limiter(windows, refuse_when_away=True)
    for budget in ({"tokens_per_day": 1}, {"tokens_per_month": 1}, {"dollars_per_month": 1}):
        with pytest.raises(LimitsUnavailable) as caught:
            limiter.admit(team(**budget), request(1))
        assert (caught.value.status, caught.value.code) == (503, "usage_unavailable")
        assert caught.value.retry_after
    assert limiter.admit(team(requests_per_minute=1), request(1)).windows is None
    assert limiter.admit(team(), request(1)) is None
