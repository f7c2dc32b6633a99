"""The proxy adds at most a share of calls by itself, and asks no more than a quota allows."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.budget import Budget, Quota

T = 1000.0


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.05, 0.2]), st.integers(0, 20))
def test_extra_calls_stay_within_their_share(events, ratio, start):
    budget, asked, extra = Budget(ratio, start, 100), 0, 0
    for ask in events:
        if ask:
            budget.earn()
            asked += 1
        else:
            extra += budget.spend()
        assert extra <= asked * ratio + start + 1e-6


def test_a_share_that_is_earned_can_be_spent():
    budget = Budget(0.2, 0, 100)
    assert not budget.spend()
    for _ in range(51):
        budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


def test_quiet_times_save_up_no_more_than_the_most():
    budget = Budget(0.2, 0, 10)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


CALLS = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 60)), max_size=100)


@given(CALLS, st.none() | st.integers(1, 10), st.none() | st.integers(60, 200))
def test_no_minute_has_more_than_the_quota(calls, requests, tokens):
    quota, now = Quota(requests, tokens), T
    taken = []
    for later, size in calls:
        now += later
        if not quota.wait(size, now):
            quota.take(1, size, now)
            taken.append((now, size))
    for start, _ in taken:
        minute = [size for when, size in taken if start <= when < start + 60]
        assert requests is None or len(minute) <= requests
        assert tokens is None or sum(minute) <= tokens


@given(CALLS, st.integers(1, 10), st.integers(60, 200), st.integers(0, 60))
def test_the_wait_is_as_long_as_needed_and_no_longer(calls, requests, tokens, size):
    quota, now = Quota(requests, tokens), T
    for later, other in calls:
        now += later
        if not quota.wait(other, now):
            quota.take(1, other, now)
    wait = quota.wait(size, now)
    assert 0 <= wait <= 60 + 1e-6
    if wait:
        assert quota.wait(size, now + wait * 0.99) > 0
    assert quota.wait(size, now + wait + 1e-6) == 0


def test_a_call_larger_than_the_quota_goes_when_nothing_else_went():
    quota = Quota(None, 100)
    assert quota.wait(500, T) == 0
    quota.take(1, 10, T)
    assert quota.wait(500, T + 1) == 59
    assert quota.wait(500, T + 60) == 0


def test_no_quota_is_no_wait():
    quota = Quota(None, None)
    for _ in range(100):
        quota.take(1, 10**9, T)
    assert quota.wait(10**9, T) == 0
