"""Calls and tokens of any minute are within the quota, and its waits are exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.dispatch.quotas.quota import Quota
from app.dispatch.quotas.quota_window import WINDOW_S
from tests.dispatch.parts import T

#: Seconds after the call before, and its tokens.
CALLS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 60)), max_size=100)
#: A worker's share of a limit of calls: below and above one call.
CALL_SHARES = st.none() | st.floats(0.01, 10)
TOKEN_SHARES = st.none() | st.floats(0.5, 200)
ROUNDING_S = 1e-6


def taken(quota, calls):
    """Return time and tokens of each admitted call; each call tries once."""
    now, left = T, []
    for later, tokens in calls:
        now += later
        if quota.reserve(tokens, now):
            left.append((now, tokens))
    return now, left


@pytest.mark.parametrize(
    ("requests", "tokens", "share"),
    [(None, None, 0.0), (10, None, 0.3), (None, 100, 0.5), (10, 100, 0.5), (0.5, None, 3.0)],
)
def test_used_share_is_that_of_the_scarcer_limit_and_expires(requests, tokens, share):
    quota = Quota(requests, tokens)
    quota.reserve(20, T)
    assert quota.used_share(2, 30, T) == pytest.approx(share)
    assert quota.used_share(0, 0, T + 2 * WINDOW_S) == 0


@given(CALL_SHARES, TOKEN_SHARES, st.integers(1, 60))
def test_calls_that_are_spread_use_their_share_of_the_quota(requests, tokens, size):
    quota = Quota(requests, tokens)
    pause = quota.interval_s(size, 0.1)
    if requests is None and tokens is None:
        assert pause == 0
        return
    assert all(quota.reserve(size, T + number * pause) for number in range(20))
    minutes = pause / 60
    assert requests is None or 1 / minutes <= 0.1 * max(requests, int(requests)) * 1.01
    assert tokens is None or size / minutes <= 0.1 * tokens * 1.01


@given(CALLS, CALL_SHARES)
def test_calls_of_any_minute_are_within_the_limit(calls, share):
    _, left = taken(Quota(share, None), calls)
    if share is None:
        assert len(left) == len(calls)
        return
    window, limit = (60, int(share)) if share >= 1 else (60 / share, 1)
    for start, _ in left:
        assert sum(start <= when < start + window for when, _ in left) <= limit


@given(CALLS, TOKEN_SHARES)
def test_tokens_of_any_minute_are_within_the_limit_except_for_a_larger_call(calls, share):
    _, left = taken(Quota(None, share), calls)
    if share is None:
        assert len(left) == len(calls)
        return
    for start, tokens in left:
        minute = [size for when, size in left if start <= when < start + 60 and size]
        assert sum(minute) <= share or len(minute) == 1
        if tokens > share:  # it counts for as many minutes as it has shares
            free = start + 60 * tokens / share
            assert not any(size for when, size in left if start < when < free)


@given(CALLS, CALL_SHARES, TOKEN_SHARES, st.integers(0, 60))
def test_wait_is_the_shortest_sufficient(calls, requests, tokens, size):
    quota = Quota(requests, tokens)
    now, _ = taken(quota, calls)
    wait = quota.wait_s(size, now)
    assert wait >= 0
    if wait > ROUNDING_S:
        assert quota.wait_s(size, now + wait - ROUNDING_S) > 0
        assert quota.wait_s(size, now + wait / 2) == pytest.approx(wait / 2)
    assert quota.wait_s(size, now + wait + ROUNDING_S) == 0


@given(CALLS, CALL_SHARES, TOKEN_SHARES)
def test_call_is_allowed_exactly_if_its_wait_is_0(calls, requests, tokens):
    quota, now = Quota(requests, tokens), T
    for later, size in calls:
        now += later
        wait = quota.wait_s(size, now)
        assert (quota.reserve(size, now) is None) == (wait > 0)


@given(CALLS, CALL_SHARES, TOKEN_SHARES)
def test_call_may_be_sent_after_its_wait(calls, requests, tokens):
    """A call of any size is admitted at some time."""
    quota, now = Quota(requests, tokens), T
    for later, size in calls:
        now += later
        now += quota.wait_s(size, now) + ROUNDING_S
        assert quota.reserve(size, now)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 2.5, 7.0])
def test_share_of_a_call_is_usable_over_time(share):
    quota, calls, minutes = Quota(share, None), 0, 200
    for second in range(60 * minutes):
        calls += quota.reserve(1, T + second) is not None
    expected = int(share) if share >= 1 else share
    assert calls == pytest.approx(expected * minutes, rel=0.04, abs=1)


def test_call_larger_than_the_quota_is_allowed_in_an_empty_window():
    quota = Quota(None, 100)
    assert quota.wait_s(500, T) == 0
    assert quota.reserve(10, T)
    assert quota.wait_s(500, T + 1) == pytest.approx(WINDOW_S - 1)
    assert quota.reserve(500, T + WINDOW_S)
    assert quota.wait_s(1, T + WINDOW_S) == pytest.approx(5 * WINDOW_S)


def test_without_quota_there_is_no_wait():
    quota = Quota(None, None)
    for _ in range(100):
        reservation = quota.reserve(10**9, T)
        assert quota.add_tokens(reservation, 10**9, T)
        quota.settle(reservation, 1)
        quota.release(reservation)
    assert quota.wait_s(10**9, T) == 0


def test_settle_replaces_the_estimate_by_the_count():
    quota = Quota(None, 100)
    reservation = quota.reserve(80, T)
    assert quota.wait_s(30, T) > 0
    quota.settle(reservation, 60)
    assert quota.wait_s(40, T) == 0
    quota.settle(reservation, 90)
    assert quota.wait_s(10, T) == 0
    assert quota.wait_s(11, T) == pytest.approx(WINDOW_S)


def test_settle_of_an_expired_call_changes_nothing():
    quota = Quota(None, 100)
    old = quota.reserve(80, T)
    assert quota.reserve(100, T + WINDOW_S)
    quota.settle(old, 5)
    assert quota.wait_s(1, T + WINDOW_S) == pytest.approx(WINDOW_S)


def test_released_call_does_not_count():
    quota = Quota(1, 100)
    reservation = quota.reserve(100, T)
    assert quota.wait_s(1, T) > 0
    quota.release(reservation)
    quota.release(reservation)
    assert quota.wait_s(100, T) == 0
    assert quota.reserve(100, T)
    assert quota.wait_s(1, T) > 0


def test_release_of_an_expired_call_changes_nothing():
    quota = Quota(1, 100)
    old = quota.reserve(100, T)
    assert quota.reserve(100, T + WINDOW_S)
    quota.release(old)
    assert quota.wait_s(1, T + WINDOW_S) == pytest.approx(WINDOW_S)


def test_tokens_can_be_added_to_a_call_within_the_limit():
    quota = Quota(1, 100)
    reservation = quota.reserve(60, T)
    assert quota.add_tokens(reservation, 40, T)  # the same call: no request more
    assert not quota.add_tokens(reservation, 1, T)
    assert quota.wait_s(1, T + WINDOW_S - 1) == pytest.approx(1)
    assert quota.wait_s(100, T + WINDOW_S) == 0


class AnyQuota(RuleBasedStateMachine):
    """Calls are sent, extended, settled and released in any order; a list is the model."""

    def __init__(self):
        super().__init__()
        self.now = T
        self.quota = Quota(3, 100)
        self.calls = []  # [reservation, when, tokens], in the order in which they left

    def counted(self):
        """Return the counted calls; none is over the limit, so each counts for one window."""
        return [call for call in self.calls if call[1] + WINDOW_S > self.now]

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(tokens=st.integers(0, 60))
    def reserve(self, tokens):
        waits = self.quota.wait_s(tokens, self.now) > 0
        reservation = self.quota.reserve(tokens, self.now)
        assert waits == (reservation is None)
        if reservation is not None:
            self.calls.append([reservation, self.now, tokens])
            assert sum(call[1] + WINDOW_S > self.now for call in self.calls) <= 3
            assert sum(call[2] for call in self.counted()) <= 100

    @precondition(lambda self: self.calls)
    @rule(tokens=st.integers(0, 30))
    def add(self, tokens):
        """Add tokens to the newest call, which may be open for additions."""
        call = self.calls[-1]
        total = sum(call[2] for call in self.counted())
        if call in self.counted() and self.quota.add_tokens(call[0], tokens, self.now):
            assert total + tokens <= 100
            call[2] += tokens

    @precondition(lambda self: self.calls)
    @rule(which=st.randoms(use_true_random=False), tokens=st.integers(0, 60))
    def settle(self, which, tokens):
        call = which.choice(self.calls)
        if call in self.counted():
            call[2] = tokens
        self.quota.settle(call[0], tokens)

    @precondition(lambda self: self.calls)
    @rule(which=st.randoms(use_true_random=False))
    def release(self, which):
        call = which.choice(self.calls)
        self.calls.remove(call)
        self.quota.release(call[0])

    @invariant()
    def the_wait_follows_from_the_calls_that_count(self):
        counted = self.counted()
        room = 100 - sum(call[2] for call in counted)
        has_call = sum(call[1] + WINDOW_S > self.now for call in self.calls) < 3
        for tokens in {0, 1, max(0, room), max(0, room + 1), 1000}:
            may_leave = has_call and (tokens <= room or not counted)
            assert (self.quota.wait_s(tokens, self.now) == 0) == may_leave


TestAnyQuota = AnyQuota.TestCase
