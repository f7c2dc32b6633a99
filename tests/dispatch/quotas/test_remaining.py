"""What a provider says remains of its limits is believed, and never more than the quota."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.quotas.leased_quota import LeasedQuota
from app.dispatch.quotas.quota import Quota
from app.dispatch.quotas.quota_window import WINDOW_S
from app.domain import StatedLimit
from tests.dispatch.parts import T
from tests.dispatch.quotas.test_leased_quota import exchange, lease

CALL = 10  # tokens of a call


def fixed(remaining, reset_s=30.0):
    """Return what a provider says whose limits reset at a time."""
    return StatedLimit(remaining, None, reset_s)


def sent(quota, now, tokens=CALL, most=200):
    """Return how many calls leave now."""
    number = 0
    while number < most and not quota.pause_s(tokens, now) and quota.reserve(tokens, now):
        number += 1
    return number


def test_no_more_calls_leave_than_remain_until_the_reset():
    quota = Quota(60, None)
    quota.record_stated([fixed(3), None], T)
    assert sent(quota, T) == 3
    assert quota.wait_s(CALL, T + 1) == pytest.approx(29)
    assert sent(quota, T + 29.9) == 0
    assert sent(quota, T + 30) > 0


def test_no_more_tokens_leave_than_remain_until_the_reset():
    quota = Quota(None, 6000)
    quota.record_stated([None, fixed(35)], T)
    assert quota.tokens_left(T) == 35
    made = quota.reserve(CALL, T)
    assert not quota.add_tokens(made, 26, T)
    assert quota.add_tokens(made, 5, T)
    assert sent(quota, T) == 2
    assert quota.tokens_left(T) == 0
    assert quota.tokens_left(T + 30) > 5000


def test_short_wait_is_a_pause_and_a_long_one_a_refusal():
    quota = Quota(60, None)
    quota.record_stated([fixed(1, reset_s=1.5), None], T)
    assert sent(quota, T) == 1
    assert quota.pause_s(CALL, T) == pytest.approx(1.5)
    assert quota.wait_s(CALL, T) == 0
    quota.record_stated([fixed(1, reset_s=50), None], T)
    assert sent(quota, T) == 1
    assert quota.pause_s(CALL, T) is None
    assert quota.reserve(CALL, T) is None


def test_token_bucket_fills_again():
    """60,000 tokens a minute: of 3,000 that remain, 1,000 more come each second."""
    quota = Quota(None, 60_000)
    quota.record_stated([None, StatedLimit(3000, 60_000, 57)], T)
    assert sent(quota, T, tokens=1000) == 3
    assert quota.pause_s(1000, T) == pytest.approx(1)
    assert sent(quota, T + 2, tokens=1000) == 2


def test_newer_word_of_the_provider_replaces_an_older_one():
    quota = Quota(60, None)
    quota.record_stated([fixed(1), None], T)
    assert sent(quota, T) == 1
    quota.record_stated([fixed(2), None], T + 1)
    assert sent(quota, T + 1) == 2


def test_wrong_reset_is_believed_for_a_minute():
    quota = Quota(60, None)
    quota.record_stated([fixed(1, reset_s=86_400), None], T)
    assert sent(quota, T) == 1
    assert sent(quota, T + 59) == 0
    assert sent(quota, T + 60) > 0


def test_released_call_remains():
    quota = Quota(60, None)
    quota.record_stated([fixed(1), None], T)
    quota.release(quota.reserve(CALL, T))
    assert sent(quota, T) == 1


def test_worker_uses_its_part_of_what_remains_for_all():
    quota = Quota(60, None)
    quota.members = 4
    quota.record_stated([fixed(8), None], T)
    assert sent(quota, T) == 2


def test_part_that_is_less_than_a_call_lets_one_leave():
    quota = Quota(None, 6000)
    quota.members = 16
    quota.record_stated([None, fixed(100)], T)
    assert sent(quota, T) == 1
    quota.record_stated([None, fixed(CALL - 1)], T)
    assert sent(quota, T) == 0


def test_leased_quota_believes_it_too():
    quota = LeasedQuota(60, 6000, workers=2)
    exchange(quota, T, lease(30, 3000))
    quota.record_stated([fixed(6), None], T)
    assert sent(quota, T) == 3
    assert quota.wait_s(CALL, T) == pytest.approx(30)


@given(
    st.floats(1, 1e6),
    st.none() | st.floats(1, 1e6),
    st.floats(0.01, 1e5),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 40)), max_size=30),
)
def test_it_never_allows_more_than_the_quota(remaining, limit, reset_s, calls):
    quota, plain, now = Quota(20, 300), Quota(20, 300), T
    stated = StatedLimit(remaining, limit, reset_s)
    left = []
    for seconds, tokens in calls:
        now += seconds
        quota.record_stated([stated, stated], now)
        assert quota.tokens_left(now) >= 0
        assert quota.wait_s(tokens, now) >= 0
        if quota.reserve(tokens, now) is not None:
            assert plain.reserve(tokens, now) is not None
            left.append((now, tokens))
    for start, _ in left:
        assert len([at for at, _ in left if start <= at < start + WINDOW_S]) <= 20
